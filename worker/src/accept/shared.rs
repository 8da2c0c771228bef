//! Accepting from one listening socket that every worker has.
//!
//! The kernel wakes several workers for one connection and gives it to whoever asks first, so finding
//! nothing is normal. A worker that stops loses nobody: what it does not accept, another one does.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use hatchery_protocol::boot::Family;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Accept;
use crate::stream::Stream;

/// How many connections a closing listener takes out of its queue at most: with many clients the queue
/// would fill as fast as it is emptied, and the stop would never begin.
const LAST_CALL: usize = 1024;

/// A listening socket that this worker shares with others.
#[derive(Debug)]
pub(crate) enum SharedListener {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix stream socket.
    Unix(UnixListener),
}

impl SharedListener {
    /// Registers the socket with the runtime.
    pub(super) fn open(family: Family, socket: OwnedFd) -> io::Result<Self> {
        match family {
            Family::Tcp => {
                // Accepted sockets inherit it (tested below), which saves a system call for each.
                rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Self::Tcp)
            }
            Family::Unix => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(Self::Unix)
            }
        }
    }
}

impl Accept for SharedListener {
    type Stream = Stream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| Stream::Tcp(stream))
            }
            Self::Unix(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| Stream::Unix(stream))
            }
        })
    }

    fn close(self, take: impl FnMut(Stream)) {
        // Without the runtime: it may not know yet of what arrived a moment ago.
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return;
                };
                let next = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    TcpStream::from_std(stream).map(Stream::Tcp)
                };
                last_call(next, take);
            }
            Self::Unix(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return;
                };
                let next = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream).map(Stream::Unix)
                };
                last_call(next, take);
            }
        }
    }
}

/// Takes what is in the queue, until there is nothing or something is wrong with the listener.
fn last_call(mut next: impl FnMut() -> io::Result<Stream>, mut take: impl FnMut(Stream)) {
    for _ in 0..LAST_CALL {
        match next() {
            Ok(stream) => take(stream),
            Err(error) if super::is_about_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}
