//! The byte stream of one connection.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hatchery_protocol::boot::Family;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tracker::{Guard, Phase, Waiting};

/// How many bytes are written as one buffer at the most, in whatever pieces they come.
const JOINED: usize = 4096;

/// A stream on which HTTP is spoken.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether this is a socket, with no protocol between it and HTTP.
    const IS_SOCKET: bool = false;

    /// What the client has sent and nobody has read, without reading it. Pending: nothing yet, or nothing that
    /// can be told, if this is no socket.
    fn poll_unread(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Unread>> {
        Poll::Pending
    }
}

/// What comes next when a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    Bytes,
    /// The client sends no more.
    End,
}

/// A stream whose ends have addresses.
pub(crate) trait Socket: Wire {
    /// The other end's, where it has an IP address.
    fn peer_address(&self) -> Option<SocketAddr>;

    /// This end's, where it has an IP address.
    fn local_address(&self) -> Option<SocketAddr>;

    /// Lets the close that is to come be a reset, where there are resets.
    fn reset_on_close(&mut self);
}

/// What a listener gives.
#[derive(Debug)]
pub(crate) struct Stream {
    kind: Kind,
    /// Whether the master may have a copy still. A connection ends when its last copy is closed, so this end
    /// says so by itself: a master that is suspended, or busy, must not keep clients waiting for it.
    copied: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self {
            kind: Kind::Tcp(stream),
            copied: false,
        }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self {
            kind: Kind::Unix(stream),
            copied: false,
        }
    }
}

impl Stream {
    /// Takes a connected, non-blocking socket into use. To be called on the runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch it: out of memory, or of watches.
    pub(crate) fn open(family: Family, socket: OwnedFd) -> io::Result<Self> {
        match family {
            Family::Tcp => TcpStream::from_std(socket.into()).map(Self::from),
            Family::Unix => UnixStream::from_std(socket.into()).map(Self::from),
            Family::Udp => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// As [`open`](Self::open), for a socket that the master has handed over.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) fn handed(family: Family, socket: OwnedFd) -> io::Result<Self> {
        let mut stream = Self::open(family, socket)?;
        stream.copied = true;
        Ok(stream)
    }

    /// The connection itself, which goes on when this is dropped.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    fn release(&mut self) -> io::Result<OwnedFd> {
        let released = self.as_fd().try_clone_to_owned()?;
        self.copied = false;
        Ok(released)
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match &mut $stream.kind {
            Kind::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Kind::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl Socket for Stream {
    fn peer_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(stream) => stream.peer_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(stream) => stream.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    fn reset_on_close(&mut self) {
        if let Kind::Tcp(stream) = &self.kind {
            // If it fails, the connection is gone already.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            // The end that a shutdown announces is an orderly one.
            self.copied = false;
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = either!(&mut *self, poll_shutdown(cx));
        self.copied &= !matches!(ended, Poll::Ready(Ok(())));
        ended
    }
}

impl Wire for Stream {
    const IS_SOCKET: bool = true;

    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Unread>> {
        loop {
            let looked = match &self.kind {
                Kind::Tcp(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, || peek(stream))
                }
                Kind::Unix(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, || peek(stream))
                }
            };
            // What the runtime knew was out of date. Now it knows better.
            if !matches!(&looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return Poll::Ready(looked);
            }
        }
    }
}

fn peek(socket: impl AsFd) -> io::Result<Unread> {
    let (read, _) = recv(socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(if read == 0 {
        Unread::End
    } else {
        Unread::Bytes
    })
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.copied {
            // If it fails, the client has gone already.
            let _ = rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Both);
        }
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
    /// Whether bytes are known to wait, before whatever comes after them.
    unread: bool,
}

impl<I> Tracked<I> {
    pub(crate) const fn new(stream: I, guard: Guard) -> Self {
        Self {
            stream,
            guard,
            unread: false,
        }
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

impl<I: Wire> Tracked<I> {
    /// A client that leaves before it has its answer takes its request along. hyper notices that by reading on
    /// while the request is answered, for which it makes a buffer of 8 KiB each time, whether or not there is
    /// anything to wait for. hyper leaves a socket alone, and this is called when there is nothing to be
    /// written.
    fn notice_hang_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unread || !self.guard.connection().owes_the_answer_only() {
            return Ok(());
        }
        match self.stream.poll_unread(cx)? {
            Poll::Ready(Unread::End) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the client has left without its answer",
            )),
            Poll::Ready(Unread::Bytes) => {
                self.unread = true;
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl Tracked<Stream> {
    /// The connection itself, which goes on when this is dropped, and counts no more.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub(crate) fn release(&mut self) -> io::Result<OwnedFd> {
        self.stream.release()
    }
}

impl<I: Wire> AsyncRead for Tracked<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(Waiting::Reader, cx)?;
        self.unread = false;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            self.guard.connection().read();
        }
        read
    }
}

impl<I: Wire> AsyncWrite for Tracked<I> {
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
        if I::IS_SOCKET {
            self.notice_hang_up(cx)?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(Waiting::Writer, cx)?;
        // Also right before the close: without it a client that has sent something unread is reset, and does not
        // see the end of its answer.
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
            let mut server = Stream::from(server);
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

    #[tokio::test]
    async fn whoever_has_a_copy_does_not_keep_it_open() {
        for handed in [true, false] {
            let (server, client) = std::os::unix::net::UnixStream::pair().unwrap();
            for end in [&server, &client] {
                end.set_nonblocking(true).unwrap();
            }
            let _copy = server.try_clone().unwrap();
            let open = if handed { Stream::handed } else { Stream::open };
            drop(open(Family::Unix, server.into()).unwrap());
            let mut client = UnixStream::from_std(client).unwrap();
            let mut bytes = [0; 8];
            let ended = tokio::time::timeout(Duration::from_millis(50), client.read(&mut bytes));
            let ended = ended.await;
            assert_eq!(ended.is_ok(), handed);
        }
    }

    #[tokio::test]
    async fn what_is_released_goes_on() {
        let (server, client) = std::os::unix::net::UnixStream::pair().unwrap();
        for end in [&server, &client] {
            end.set_nonblocking(true).unwrap();
        }
        let mut stream = Stream::handed(Family::Unix, server.into()).unwrap();
        let released = stream.release().unwrap();
        drop(stream);
        let mut server = Stream::open(Family::Unix, released).unwrap();
        let mut client = UnixStream::from_std(client).unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
}
