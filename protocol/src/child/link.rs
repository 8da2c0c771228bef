//! The child's end of the link: a reader for the watch thread, a writer for everybody.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::fd;
use crate::message::{FromChild, write_message};
use crate::wire::{Decoder, Frame, FrameError, MAX_FRAME};

/// How many bytes may wait for a master that does not read. Beats are not queued at all.
const QUEUE_LIMIT: usize = MAX_FRAME;

/// Reads frames and descriptors; owned by one thread at a time.
#[derive(Debug)]
pub(super) struct LinkReader {
    socket: OwnedFd,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    chunk: Box<[u8]>,
}

impl LinkReader {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::new(MAX_FRAME),
            fds: VecDeque::new(),
            chunk: vec![0; 16 * 1024].into_boxed_slice(),
        }
    }

    /// One read. 0 is the end: the master is gone.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        let read = fd::receive(&self.socket, &mut self.chunk, &mut self.fds)?;
        self.decoder
            .push(self.chunk.get(..read).unwrap_or_default());
        Ok(read)
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.next_frame()
    }

    /// The descriptors of the frame just read.
    pub(super) fn take_fds(&mut self, count: u8) -> io::Result<VecDeque<OwnedFd>> {
        let count = usize::from(count);
        if self.fds.len() < count {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame came without its descriptors",
            ));
        }
        let rest = self.fds.split_off(count);
        Ok(std::mem::replace(&mut self.fds, rest))
    }
}

impl AsFd for LinkReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Writes messages without ever waiting: what the socket does not take is kept for the watch thread.
#[derive(Debug)]
pub(super) struct LinkWriter {
    socket: OwnedFd,
    queue: Mutex<VecDeque<u8>>,
    wake: OwnedFd,
}

impl LinkWriter {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            queue: Mutex::new(VecDeque::new()),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Readable when the watch thread should look at the queue again.
    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the watch thread's poll return.
    pub(super) fn wake(&self) {
        // The counter can only be full, and then the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Sends now, or keeps it in order behind what waits already. A dead link swallows it: the watch
    /// thread notices the death itself.
    pub(super) fn send(&self, message: &FromChild) {
        let mut queue = self.lock();
        // A beat that cannot leave at once is worthless: the next one says the same, and newer.
        if matches!(message, FromChild::Beat(_)) && !queue.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        if write_message(message, 0, &mut bytes).is_err() {
            return;
        }
        // All or nothing: half a message would be the end of the link.
        if queue.len() + bytes.len() > QUEUE_LIMIT {
            return;
        }
        let taken = if queue.is_empty() {
            self.push(&bytes)
        } else {
            0
        };
        let rest = bytes.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            queue.extend(rest);
            drop(queue);
            self.wake();
        }
    }

    /// Whether something waits for the socket to take it.
    pub(super) fn has_queued(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn flush(&self) {
        let mut queue = self.lock();
        let taken = self.push(queue.make_contiguous());
        queue.drain(..taken);
    }

    /// Everything counts as taken once the link is dead, so that the queue ends.
    fn push(&self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match fd::send(&self.socket, rest, &[]) {
                Ok(n) => taken += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return bytes.len(),
            }
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
