//! Where a child writes its output when the log file was opened again.
//!
//! The new descriptors come over the link to the watch thread, whose table of descriptors is its own (see
//! [`super::watch`]). So they travel once more, over a socket between the two tables, to a task on the runtime
//! that puts them in place for everybody else.
//!
//! No line is split: what a thread is writing while it holds the lock of the stream it finishes, and a line
//! that is not whole yet stays in its buffer and goes to the new place.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::beside::beside;
use crate::{fd, sys};

/// Where output goes, as far as both sides have to know.
#[derive(Debug)]
pub(super) struct Output {
    /// Whether the process writes where its master does. For the watch thread, which takes no locks.
    restored: AtomicBool,
    /// The same for tasks.
    is_restored: CancellationToken,
    /// The watch thread's end.
    sender: OwnedFd,
    /// The runtime's end.
    receiver: OwnedFd,
}

impl Output {
    pub(super) fn new() -> io::Result<Self> {
        let (sender, receiver) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok(Self {
            restored: AtomicBool::new(false),
            is_restored: CancellationToken::new(),
            sender,
            receiver,
        })
    }

    /// The process is ready: nothing of its output goes through the master any more.
    pub(super) fn restored(&self) {
        self.restored.store(true, Release);
        self.is_restored.cancel();
    }

    pub(super) fn is_restored(&self) -> bool {
        self.restored.load(Acquire)
    }

    /// Hands the descriptors over to the other table. Only a runtime that has been blocked through hundreds of
    /// log files has no room for them.
    pub(super) fn pass_on(&self, stdout: &OwnedFd, stderr: &OwnedFd) {
        let _ = fd::send(&self.sender, &[0], &[stdout.as_fd(), stderr.as_fd()]);
    }
}

/// Starts the task that puts new descriptors in place, as soon as the process writes by itself.
///
/// # Errors
///
/// The runtime cannot watch the socket: out of memory, of descriptors, or of watches.
pub(super) fn follow(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let socket = sys::readable(shared.output.receiver.try_clone()?)?;
    Ok(tokio::spawn(async move {
        // An error is the end of the runtime.
        while let Ok(mut readable) = socket.readable().await {
            let mut fds = VecDeque::new();
            match fd::receive(socket.get_ref(), &mut [0; 64], &mut fds) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    readable.clear_ready();
                    continue;
                }
                Err(error) => {
                    tracing::warn!("the new log file did not come: {error}");
                    continue;
                }
            }
            shared.output.is_restored.cancelled().await;
            // The last ones are the newest.
            if let (Some(stderr), Some(stdout)) = (fds.pop_back(), fds.pop_back()) {
                // Whoever writes now may be waiting for a pipe that nobody reads.
                let (done, switched) = oneshot::channel();
                let begun = beside(move || {
                    let _ = done.send(switch(&stdout, &stderr));
                });
                // In turn, so that the last file is the last.
                let switched = switched.await.unwrap_or(Ok(()));
                if let Err(error) = begun.and(switched) {
                    tracing::warn!("output stays in the old log file: {error}");
                }
            }
        }
    }))
}

/// Between two lines: the locks are held by whoever is in the middle of one.
fn switch(stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<()> {
    {
        let _whole = io::stdout().lock();
        rustix::stdio::dup2_stdout(stdout)?;
    }
    let _whole = io::stderr().lock();
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}
