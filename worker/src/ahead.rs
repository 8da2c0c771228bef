//! A stream of which more is read than its reader asked for, or before there is a reader.
//!
//! hyper begins a connection with a read of 24 bytes, to see which HTTP its client speaks. Most requests are
//! here as a whole by then: with what is read ahead, a new connection costs one read instead of two.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::stream::{Unread, Wire};
use crate::through::write_through;

/// How much is read ahead at once.
const CHUNK: usize = 2048;

/// Who has less room than this gets the rest with the next read.
const SMALL: usize = 64;

/// Gives what was read ahead first.
#[derive(Debug)]
pub(crate) struct Ahead<S> {
    stream: S,
    read: Vec<u8>,
    /// How much of `read` was given or is not to be.
    taken: usize,
}

impl<S: AsyncRead + Unpin> Ahead<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self {
            stream,
            read: Vec::new(),
            taken: 0,
        }
    }

    /// What was read ahead and not taken.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.read.get(self.taken..).unwrap_or_default()
    }

    /// Reads more ahead. Returns how many bytes came; 0 at the end of the stream.
    pub(crate) async fn read_ahead(&mut self) -> io::Result<usize> {
        self.read.reserve(CHUNK);
        self.stream.read_buf(&mut self.read).await
    }

    /// Keeps the first `count` bytes from the reader.
    pub(crate) fn consume(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.read.len());
        self.let_go();
    }

    pub(crate) const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads for somebody who has little room, and keeps what does not fit.
    fn poll_read_more(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); CHUNK];
        let mut more = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut more))?;
        let more = more.filled();
        let (fitting, rest) = more.split_at(more.len().min(buf.remaining()));
        buf.put_slice(fitting);
        self.read.extend_from_slice(rest);
        Poll::Ready(Ok(()))
    }

    fn let_go(&mut self) {
        if self.taken == self.read.len() {
            self.read = Vec::new();
            self.taken = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return match buf.remaining() {
                1..SMALL => self.poll_read_more(cx, buf),
                _ => Pin::new(&mut self.stream).poll_read(cx, buf),
            };
        }
        let count = waiting.len().min(buf.remaining());
        buf.put_slice(waiting.get(..count).unwrap_or_default());
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: Wire> Wire for Ahead<S> {
    const IS_SOCKET: bool = S::IS_SOCKET;

    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Unread>> {
        if self.waiting().is_empty() {
            self.stream.poll_unread(cx)
        } else {
            Poll::Ready(Ok(Unread::Bytes))
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    write_through!(stream);
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    #[tokio::test]
    async fn a_reader_gets_what_was_not_taken_and_then_the_rest() {
        let (mut client, server) = duplex(64);
        let mut ahead = Ahead::new(server);
        client.write_all(b"onetwo").await.unwrap();
        assert_eq!(ahead.read_ahead().await.unwrap(), 6);
        assert_eq!(ahead.waiting(), b"onetwo");
        ahead.consume(3);
        client.write_all(b"three").await.unwrap();
        drop(client);
        let mut two = [0; 2];
        ahead.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"tw");
        let mut rest = Vec::new();
        ahead.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"othree");
        assert_eq!(ahead.read_ahead().await.unwrap(), 0);
    }

    /// Counts how often it is read with success.
    struct Reads(DuplexStream, usize);

    impl AsyncRead for Reads {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
            self.1 += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn who_has_little_room_first_costs_one_read() {
        let (mut client, server) = duplex(2 * CHUNK);
        let mut ahead = Ahead::new(Reads(server, 0));
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(CHUNK + 100).collect();
        client.write_all(&sent).await.unwrap();
        drop(client);
        let mut buffer = [0; 4 * CHUNK];
        let mut arrived = Vec::new();
        // The first bytes, the rest of the chunk, what came after it, the end.
        for (room, bytes, reads) in [
            (24, 24, 1),
            (4 * CHUNK, CHUNK - 24, 1),
            (4 * CHUNK, 100, 2),
            (24, 0, 3),
        ] {
            assert_eq!(ahead.read(&mut buffer[..room]).await.unwrap(), bytes);
            arrived.extend_from_slice(&buffer[..bytes]);
            assert_eq!(ahead.stream.1, reads);
        }
        assert_eq!(arrived, sent);
    }

    #[tokio::test]
    async fn who_has_little_room_waits_for_the_first_byte_and_for_no_more() {
        let (mut client, server) = duplex(64);
        let mut ahead = Ahead::new(server);
        let mut little = [0; 24];
        let mut cx = Context::from_waker(Waker::noop());
        let nothing = Pin::new(&mut ahead).poll_read(&mut cx, &mut ReadBuf::new(&mut little));
        assert!(nothing.is_pending());
        client.write_all(b"GET").await.unwrap();
        assert_eq!(ahead.read(&mut little).await.unwrap(), 3);
        assert!(ahead.waiting().is_empty());
    }
}
