//! The master's end of a link.
//!
//! Writing never waits: what the socket does not take at once is queued, up to a limit, and written by
//! a task of the child's. A child that does not read fills its own queue and nobody else's.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hatchery_protocol::fd;
use hatchery_protocol::id::Slot;
use hatchery_protocol::message::{
    FromChild, Member, MessageError, ToChild, read_message, write_message,
};
use hatchery_protocol::wire::{Decoder, MAX_FRAME};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// How many bytes may wait for a child that does not read.
const QUEUE_LIMIT: usize = MAX_FRAME;

/// The two ends of a new link: this master's, and the child's.
pub(crate) fn ends() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Why a link is of no more use.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("it does not read its link: {QUEUE_LIMIT} bytes wait for it")]
    Full,
    #[error("it wrote something on its link that the master cannot read: {0}")]
    Message(#[from] MessageError),
    #[error("it sent descriptors, which no child may")]
    Descriptors,
    #[error("its link failed: {0}")]
    Io(#[from] io::Error),
}

/// The reading half: one task's.
#[derive(Debug)]
pub(crate) struct LinkReader {
    link: Arc<Link>,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl LinkReader {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            decoder: Decoder::new(MAX_FRAME),
            chunk: vec![0; 4096],
        }
    }

    /// The next message; `None` when the child closed its end. A child that dies in the middle of a
    /// frame has died, and not done anything wrong.
    pub(crate) async fn next(&mut self) -> Result<Option<FromChild>, LinkError> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(MessageError::from)? {
                return Ok(Some(read_message(&frame)?));
            }
            let mut fds = VecDeque::new();
            let stream = &self.link.stream;
            let received = stream.async_io(Interest::READABLE, || {
                fd::receive(stream.as_fd(), &mut self.chunk, &mut fds)
            });
            let count = match received.await {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                // It died with bytes of ours unread.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            if !fds.is_empty() {
                return Err(LinkError::Descriptors);
            }
            self.decoder
                .push(self.chunk.get(..count).unwrap_or_default());
        }
    }
}

/// The writing half: everybody's.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    waiting: Mutex<Waiting>,
    queued: Notify,
}

/// What the socket did not take yet.
#[derive(Debug, Default)]
struct Waiting {
    /// Written first, in order.
    queue: VecDeque<u8>,
    /// Which workers came or went, written after the queue. Newer news of a slot take the place of older ones,
    /// so that a child that boots slowly while its peers come and go does not collect all of it.
    news: BTreeMap<Slot, Option<u32>>,
    /// Where the child is to write, sent when nothing else waits: descriptors belong to a frame, and the queue
    /// knows bytes only. Newer ones take the place of older ones.
    output: Option<[OwnedFd; 2]>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.news.is_empty() && self.output.is_none()
    }

    /// Puts what the socket does not take of a frame with descriptors into the queue. The descriptors have left
    /// with its first byte.
    fn send_output(&mut self, stream: &UnixStream) -> io::Result<()> {
        let Some(output) = self.output.take() else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        write_message(&ToChild::Output, 2, &mut bytes).map_err(io::Error::other)?;
        match fd::send(stream.as_fd(), &bytes, &output.each_ref().map(AsFd::as_fd)) {
            Ok(taken) => self.queue.extend(bytes.get(taken..).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.output = Some(output);
                return Err(error);
            }
            // Too many descriptors are under way, or the child is gone: no reason to give up its link.
            Err(error) => tracing::warn!("a child did not get the new log file: {error}"),
        }
        Ok(())
    }

    /// Moves the news into the queue: nothing newer can replace them any more.
    fn settle_news(&mut self) -> Result<(), MessageError> {
        if self.news.is_empty() {
            return Ok(());
        }
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (slot, pid) in std::mem::take(&mut self.news) {
            match pid {
                Some(pid) => up.push(Member { slot, pid }),
                None => down.push(slot),
            }
        }
        let mut bytes = Vec::new();
        write_message(&ToChild::WorkersChanged { up, down }, 0, &mut bytes)?;
        self.queue.extend(bytes);
        Ok(())
    }
}

impl Link {
    /// Takes over a non-blocking socket. To be called on the runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stream: UnixStream::from_std(StdUnixStream::from(socket))?,
            waiting: Mutex::default(),
            queued: Notify::new(),
        })
    }

    /// Sends the first message, with its descriptors. A new socket has room for it.
    pub(crate) fn send_boot(
        &self,
        boot: &ToChild,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        let count = u8::try_from(fds.len()).unwrap_or(u8::MAX);
        write_message(boot, count, &mut bytes)?;
        let taken = fd::send(self.stream.as_fd(), &bytes, fds)?;
        self.enqueue(bytes.get(taken..).unwrap_or_default())
    }

    /// Sends now, or queues in order.
    pub(crate) fn send(&self, message: &ToChild) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        write_message(message, 0, &mut bytes)?;
        self.send_bytes(&bytes)
    }

    /// Sends a message that was written before: for one that many get.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) -> Result<(), LinkError> {
        let idle = self.lock().is_empty();
        let taken = if idle { self.push(bytes)? } else { 0 };
        self.enqueue(bytes.get(taken..).unwrap_or_default())
    }

    /// Sends which workers came and went, which is what `bytes` say, too. Behind something that waits it waits
    /// itself, and of each slot only the newest counts.
    pub(crate) fn send_news(
        &self,
        bytes: &[u8],
        up: &[Member],
        down: &[Slot],
    ) -> Result<(), LinkError> {
        {
            let mut waiting = self.lock();
            if !waiting.is_empty() {
                let up = up.iter().map(|member| (member.slot, Some(member.pid)));
                waiting.news.extend(up);
                waiting.news.extend(down.iter().map(|slot| (*slot, None)));
                return Ok(());
            }
        }
        self.send_bytes(bytes)
    }

    /// Tells where to write from now on: standard output and standard error.
    pub(crate) fn send_output(&self, output: [OwnedFd; 2]) {
        self.lock().output = Some(output);
        self.queued.notify_one();
    }

    /// Sends a beat, unless something waits already: a queue of beats would say nothing more than one.
    pub(crate) fn beat(&self, bytes: &[u8]) -> Result<(), LinkError> {
        if self.lock().is_empty() {
            self.send_bytes(bytes)
        } else {
            Ok(())
        }
    }

    /// Writes what waits whenever the socket has room again. Runs as long as the link is of use.
    pub(crate) async fn flush(&self) {
        loop {
            self.queued.notified().await;
            while !self.lock().is_empty() {
                let written = self.stream.async_io(Interest::WRITABLE, || {
                    let mut waiting = self.lock();
                    if waiting.queue.is_empty() {
                        waiting.settle_news().map_err(io::Error::other)?;
                    }
                    if waiting.queue.is_empty() {
                        waiting.send_output(&self.stream)?;
                    }
                    if waiting.queue.is_empty() {
                        return Ok(());
                    }
                    let queue = waiting.queue.make_contiguous();
                    let taken = fd::send(self.stream.as_fd(), queue, &[])?;
                    waiting.queue.drain(..taken);
                    Ok(())
                });
                if written.await.is_err() {
                    // The reader sees the same end and reports it.
                    *self.lock() = Waiting::default();
                    return;
                }
            }
        }
    }

    fn enqueue(&self, bytes: &[u8]) -> Result<(), LinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut waiting = self.lock();
        // News go before what was sent after them.
        waiting.settle_news()?;
        if waiting.queue.len() + bytes.len() > QUEUE_LIMIT {
            return Err(LinkError::Full);
        }
        waiting.queue.extend(bytes);
        drop(waiting);
        self.queued.notify_one();
        Ok(())
    }

    /// A peer that is gone takes everything: its end is seen by the reader and by its pidfd.
    fn push(&self, bytes: &[u8]) -> Result<usize, LinkError> {
        match fd::send(self.stream.as_fd(), bytes, &[]) {
            Ok(taken) => Ok(taken),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(bytes.len())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn member(slot: Slot, pid: u32) -> Member {
        Member { slot, pid }
    }

    /// Peers come and go while a child does not read: it hears of each slot once.
    #[tokio::test]
    async fn news_that_wait_are_replaced_by_newer_ones_of_their_slot() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let link = Link::new(ours.into()).unwrap();
        while link.lock().is_empty() {
            link.send(&ToChild::Beat).unwrap();
        }
        let tell = |up: &[Member], down: &[Slot]| link.send_news(b"not now", up, down).unwrap();
        for pid in 1..1_000 {
            tell(&[member(0, pid)], &[]);
        }
        tell(&[member(1, 7)], &[]);
        tell(&[member(2, 8)], &[0, 1]);
        let last = ToChild::WorkersChanged {
            up: vec![member(2, 8)],
            down: vec![0, 1],
        };
        let reader = async {
            let stream = UnixStream::from_std(theirs).unwrap();
            let mut decoder = Decoder::new(MAX_FRAME);
            let mut chunk = [0; 4096];
            loop {
                stream.readable().await.unwrap();
                let count = stream.try_read(&mut chunk).unwrap_or(0);
                decoder.push(&chunk[..count]);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    let message: ToChild = read_message(&frame).unwrap();
                    if message != ToChild::Beat {
                        return message;
                    }
                }
            }
        };
        tokio::select! {
            heard = reader => assert_eq!(heard, last),
            () = link.flush() => panic!("the link broke"),
        }
    }
}
