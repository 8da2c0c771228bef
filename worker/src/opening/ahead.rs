//! A stream of which a part has been read before its reader came.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::stream::Wire;
use crate::through::write_through;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// How much is read ahead at once.
const CHUNK: usize = 2048;

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
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = waiting.len().min(buf.remaining());
        buf.put_slice(waiting.get(..count).unwrap_or_default());
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: Wire> Wire for Ahead<S> {}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    write_through!(stream);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

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
}
