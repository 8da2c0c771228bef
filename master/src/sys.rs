//! The only unsafe code of this crate.
#![expect(
    unsafe_code,
    reason = "tokio cannot know that a descriptor stays what it is; its type tells us"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for a descriptor to be readable: a pidfd whose process is gone, a socket whose peer is.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped (I/O safety of std), and
    // the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
