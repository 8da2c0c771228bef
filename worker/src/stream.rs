//! The byte stream of one connection.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hatchery_protocol::boot::Family;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tracker::{Guard, Phase, Waiting};

/// How many bytes are written as one buffer at the most, in whatever pieces they come.
const JOINED: usize = 4096;

/// A stream whose ends have addresses.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The other end's, where it has an IP address.
    fn peer_address(&self) -> Option<SocketAddr>;

    /// This end's, where it has an IP address.
    fn local_address(&self) -> Option<SocketAddr>;

    /// Lets the close that is to come be a reset, where there are resets.
    fn reset_on_close(&self);
}

/// What a listener gives.
#[derive(Debug)]
pub(crate) enum Stream {
    /// From a TCP listener.
    Tcp(TcpStream),
    /// From a unix listener.
    Unix(UnixStream),
}

impl Stream {
    /// Takes a connected, non-blocking socket into use. To be called on the runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch it: out of memory, or of watches.
    pub(crate) fn open(family: Family, socket: OwnedFd) -> io::Result<Self> {
        match family {
            Family::Tcp => TcpStream::from_std(socket.into()).map(Self::Tcp),
            Family::Unix => UnixStream::from_std(socket.into()).map(Self::Unix),
            Family::Udp => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl Socket for Stream {
    fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // If it fails, the connection is gone already.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        // An answer is two pieces, its header and its body. For a small one the kernel's work on the list
        // of pieces, which send(2) does without, is 3 % of a whole request, and more than this copy.
        let mut space = [MaybeUninit::uninit(); JOINED];
        let mut joined = ReadBuf::uninit(&mut space);
        for buf in bufs {
            if buf.len() > joined.remaining() {
                return either!(self.get_mut(), poll_write_vectored(cx, bufs));
            }
            joined.put_slice(buf);
        }
        self.poll_write(cx, joined.filled())
    }

    fn is_write_vectored(&self) -> bool {
        // Both kinds of socket have writev(2).
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), poll_shutdown(cx))
    }
}

/// A stream that is counted until it is closed and that a drain can cut off wherever it is.
///
/// Before an upgrade the connection's task does the cutting, by dropping the stream. After it the
/// stream belongs to a handler; then reads and writes fail as soon as the drain aborts.
#[derive(Debug)]
pub(crate) struct Tracked<I> {
    // Before the guard, so that the descriptor is closed when the connection no longer counts.
    stream: I,
    guard: Guard,
}

impl<I> Tracked<I> {
    pub(crate) const fn new(stream: I, guard: Guard) -> Self {
        Self { stream, guard }
    }

    fn check(&self, who: Waiting, cx: &Context<'_>) -> io::Result<()> {
        let connection = self.guard.connection();
        if !connection.is_upgraded() {
            return Ok(());
        }
        connection.watch(who, cx);
        if connection.phase() == Phase::Aborted {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the worker is leaving and its time to drain is over",
            ));
        }
        Ok(())
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.guard.connection().wrote();
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Tracked<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(Waiting::Reader, cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            self.guard.connection().read();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Tracked<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(Waiting::Writer, cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(Waiting::Writer, cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(Waiting::Writer, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(Waiting::Writer, cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn pieces_arrive_whole_and_in_order() {
        let sizes: [&[usize]; 7] = [
            &[5],
            &[0, 0],
            &[130, 11],
            &[130, 0, 11, 2],
            &[JOINED - 1, 1],
            &[JOINED, 1],
            &[130, 2 * JOINED, 3],
        ];
        for sizes in sizes {
            let (server, mut client) = UnixStream::pair().unwrap();
            let mut server = Stream::Unix(server);
            let pieces: Vec<Vec<u8>> = (b'a'..)
                .zip(sizes)
                .map(|(byte, size)| vec![byte; *size])
                .collect();
            let bufs: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let written = poll_fn(|cx| Pin::new(&mut server).poll_write_vectored(cx, &bufs)).await;
            drop(server);
            let mut arrived = Vec::new();
            client.read_to_end(&mut arrived).await.unwrap();
            assert_eq!(arrived, pieces.concat(), "{sizes:?}");
            assert_eq!(written.unwrap(), arrived.len(), "{sizes:?}");
        }
    }
}
