//! A connection that the application speaks its own protocol on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::stream::{Socket as _, Stream, Tracked};
use crate::through::{read_through, write_through};
use crate::tracker::Guard;

/// A connection from [`Incoming`](crate::Incoming): bytes in both directions, in any protocol.
///
/// It counts as an open connection, in `status` and for a drain, until it is dropped. A worker that leaves
/// says so by [`shutdown`](hatchery_protocol::child::Context::shutdown); whoever does not listen to that is
/// cut off at the drain's deadline: reads and writes fail with
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted). To read and write in two tasks, use
/// `tokio::io::split`.
#[derive(Debug)]
pub struct RawStream {
    stream: Tracked<Stream>,
    peer: Option<SocketAddr>,
}

impl RawStream {
    pub(crate) fn new(stream: Stream, guard: Guard) -> Self {
        // No server watches over it: it is cut off by its own reads and writes, like an upgraded one.
        guard.connection().set_upgraded();
        // Asked for at once, because a client that has gone has no address.
        let peer = stream.peer_address();
        Self {
            stream: Tracked::new(stream, guard),
            peer,
        }
    }

    /// The client's address. Clients of a unix socket have none, nor has one that hung up before it was
    /// accepted.
    pub const fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Takes the connection out of this worker's hands, to pass it on to another process (`SCM_RIGHTS`, see
    /// unix(7)). It does not count any more, neither in `status` nor for a drain, and is not cut off at the end of
    /// one. What was read from it is not in it any more: pass that on, too.
    ///
    /// # Errors
    ///
    /// No descriptor is left. The connection is closed then.
    pub fn into_fd(mut self) -> io::Result<OwnedFd> {
        self.stream.release()
    }
}

impl AsyncRead for RawStream {
    read_through!(stream);
}

impl AsyncWrite for RawStream {
    write_through!(stream);
}
