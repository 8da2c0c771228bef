//! Messages and descriptors over the socket between two masters.
//!
//! Writing never waits: all that is ever sent fits the socket's buffer, and a peer that lets it fill up is of
//! no more use. A peer that is gone swallows everything; its end is seen by whoever reads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use hatchery_protocol::fd;
use hatchery_protocol::message::{MessageError, read_message, write_message};
use hatchery_protocol::wire::{Decoder, MAX_FRAME};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_send_buffer_size;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::unix::AsyncFd;

/// How much may be under way. The kernel grants what `net.core.wmem_max` allows.
const BUFFER: usize = 1024 * 1024;

/// Why nothing more can come from the other side.
#[derive(Debug, Error)]
pub(super) enum ChannelError {
    #[error("it said something that cannot be read: {0}")]
    Message(#[from] MessageError),
    #[error("a message came without its descriptors")]
    Descriptors,
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Makes a socket ready to be written to without waiting.
pub(super) fn prepare(socket: &OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    Ok(set_socket_send_buffer_size(socket, BUFFER)?)
}

/// Sends one message, whole.
///
/// # Errors
///
/// The peer does not read, or the system refuses. A peer that is gone is no error.
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let count = u8::try_from(fds.len()).unwrap_or(u8::MAX);
    write_message(message, count, &mut bytes).map_err(io::Error::other)?;
    match fd::send(socket, &bytes, fds) {
        Ok(taken) if taken == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// What has arrived and was not looked at.
#[derive(Debug)]
pub(super) struct Inbox {
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    chunk: Vec<u8>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(MAX_FRAME),
            fds: VecDeque::new(),
            chunk: vec![0; 16 * 1024],
        }
    }

    /// The next message that is there whole, with its descriptors.
    pub(super) fn next<M: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(M, Vec<OwnedFd>)>, ChannelError> {
        let frame = self.decoder.next_frame().map_err(MessageError::from)?;
        let Some(frame) = frame else {
            return Ok(None);
        };
        let count = usize::from(frame.fds);
        if self.fds.len() < count {
            return Err(ChannelError::Descriptors);
        }
        let fds = self.fds.drain(..count).collect();
        // By value: a message may outlive its frame.
        let message = read_message::<serde_json::Value>(&frame)?;
        let message = serde_json::from_value(message).map_err(MessageError::from)?;
        Ok(Some((message, fds)))
    }

    /// Reads once, without waiting. `false` at the end of the stream.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        match fd::receive(socket, &mut self.chunk, &mut self.fds) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.decoder
                    .push(self.chunk.get(..count).unwrap_or_default());
                Ok(true)
            }
            // It died with bytes of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next message on this thread, for at most `patience` in all.
    pub(super) fn wait<M: DeserializeOwned>(
        &mut self,
        socket: &OwnedFd,
        patience: Duration,
    ) -> Result<(M, Vec<OwnedFd>), ChannelError> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            let mut fds = [PollFd::new(socket, PollFlags::IN)];
            let timeout = Timespec::try_from(patience).ok();
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            match self.fill(socket) {
                Ok(true) => {}
                Ok(false) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The next message, with its descriptors; `None` when the other side has nothing more to say. To be called on
/// the runtime; nothing is lost when it is dropped.
pub(super) async fn receive<M: DeserializeOwned>(
    socket: &AsyncFd<OwnedFd>,
    inbox: &mut Inbox,
) -> Result<Option<(M, Vec<OwnedFd>)>, ChannelError> {
    loop {
        if let Some(message) = inbox.next()? {
            return Ok(Some(message));
        }
        let mut ready = socket.readable().await?;
        match inbox.fill(socket.get_ref()) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let (a, b) = UnixStream::pair().unwrap();
        (a.into(), b.into())
    }

    #[test]
    fn merged_messages_keep_their_own_descriptors() {
        let (ours, theirs) = pair();
        prepare(&ours).unwrap();
        let pipes: Vec<_> = (0..3).map(|_| io::pipe().unwrap()).collect();
        send(&ours, &"none", &[]).unwrap();
        send(&ours, &"two", &[pipes[0].1.as_fd(), pipes[1].1.as_fd()]).unwrap();
        send(&ours, &"one", &[pipes[2].1.as_fd()]).unwrap();
        drop(ours);
        let mut inbox = Inbox::new();
        for (text, count) in [("none", 0), ("two", 2), ("one", 1)] {
            let (message, fds): (String, _) = inbox.wait(&theirs, Duration::from_secs(5)).unwrap();
            assert_eq!((message.as_str(), fds.len()), (text, count));
        }
        let end = inbox.wait::<String>(&theirs, Duration::from_secs(5));
        let ChannelError::Io(end) = end.unwrap_err() else {
            panic!("not the end");
        };
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nobody_is_waited_for_in_vain() {
        let (ours, theirs) = pair();
        prepare(&ours).unwrap();
        let message = "x".repeat(1000);
        let full = (0..100_000).find_map(|_| send(&ours, &message, &[]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        send(&ours, &message, &[]).unwrap();
    }
}
