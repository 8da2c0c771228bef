//! Accepting from one listening socket that every worker has.
//!
//! The kernel wakes several workers for one connection and gives it to whoever asks first, so finding
//! nothing is normal. A worker that stops loses nobody: what it does not accept, another one does.

use std::io;
use std::os::fd::OwnedFd;

use hatchery_protocol::boot::Family;
use tokio::net::{TcpListener, UnixListener};

use super::{Accept, Accepted};
use crate::stream::Stream;

/// How many connections a closing listener takes out of its queue at most: with many clients the queue
/// would fill as fast as it is emptied, and the stop would never begin.
const LAST_CALL: usize = 1024;

/// A listening socket that this worker accepts from, alone or together with others.
#[derive(Debug)]
pub(crate) struct SharedListener {
    index: usize,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix stream socket.
    Unix(UnixListener),
}

impl SharedListener {
    /// Takes the socket of the listener with this index into use. To be called on the runtime, once the
    /// master listens.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch it: out of memory, or of watches.
    pub(crate) fn open(index: usize, family: Family, socket: OwnedFd) -> io::Result<Self> {
        let socket = match family {
            Family::Tcp => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?)
            }
            Family::Unix => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(listener)?)
            }
            Family::Udp => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(Self { index, socket })
    }
}

impl Accept for SharedListener {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<Accepted<Stream>> {
        let stream = match &self.socket {
            Socket::Tcp(listener) => Stream::from(listener.accept().await?.0),
            Socket::Unix(listener) => Stream::from(listener.accept().await?.0),
        };
        let listener = self.index;
        Ok(Accepted { listener, stream })
    }

    fn close(self, mut take: impl FnMut(Accepted<Stream>)) {
        let listener = self.index;
        let take = |stream| take(Accepted { listener, stream });
        // Without the runtime: it may not know yet of what arrived a moment ago.
        match self.socket {
            Socket::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return;
                };
                let next = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Stream::open(Family::Tcp, stream.into())
                };
                last_call(next, take);
            }
            Socket::Unix(listener) => {
                let Ok(listener) = listener.into_std() else {
                    return;
                };
                let next = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Stream::open(Family::Unix, stream.into())
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
