//! Work that may wait, on a thread of its own beside the runtime.
//!
//! Not on the runtime's pool of threads: where the system has no thread to give (`pids.max`, `RLIMIT_NPROC`), asking
//! that pool panics. What is only done beside must not end a master, nor a worker that has requests to finish.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Begins `work`. Nobody has to wait for its end.
///
/// # Errors
///
/// There is no thread to be had now, and nothing was done.
pub fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new()
        .name("hatchery-beside".to_owned())
        .spawn(work)
}
