//! The only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "who owns a descriptor, and for how long, is told by types here and by agreement elsewhere"
)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for a descriptor to be readable: a pidfd whose process is gone, a socket whose peer is.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped (I/O safety of std), and
    // the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// The descriptors that a service manager handed to this process, with their names (sd_listen_fds(3)). The
/// first call gives them, every other none. To be called before anything is opened.
///
/// # Errors
///
/// The environment says what cannot be.
pub(crate) fn inherited_descriptors() -> io::Result<Vec<(OwnedFd, String)>> {
    static GIVEN: AtomicBool = AtomicBool::new(false);
    if GIVEN.swap(true, Relaxed) {
        return Ok(Vec::new());
    }
    let found = sd_notify::listen_fds_with_names()?;
    // SAFETY: each was just found open, the service manager made it for this process, nothing else of this
    // process has opened anything yet that could have the same number, and nobody gets it a second time.
    let own = |(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name);
    Ok(found.map(own).collect())
}
