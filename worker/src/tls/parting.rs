//! A client that is told by TLS that nothing more comes.
//!
//! Without that (a close_notify alert), a client cannot tell an end from a cut. HTTP says it in an orderly
//! close; but a connection also ends by being dropped, when a client took too long, or said nothing before a
//! drain, or when a handler is done with an upgraded stream. It is told then, too, unless an answer is under
//! way or a drain cuts an upgraded stream off: what is cut has to look so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

use crate::stream::Wire;
use crate::through::{read_through, write_through};
use crate::tracker::{Connection, Phase};

/// A TLS stream that takes its leave.
pub(crate) struct Parting<S: AsyncRead + AsyncWrite + Unpin> {
    stream: TlsStream<S>,
    connection: Arc<Connection>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Parting<S> {
    pub(crate) const fn new(stream: TlsStream<S>, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Parting<S> {
    fn drop(&mut self) {
        let connection = &self.connection;
        let cut = connection.is_upgraded() && connection.phase() == Phase::Aborted;
        if connection.turn().is_waiting() && !cut {
            // As far as the socket takes it at once. After an orderly close there is nothing left to say.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut cx);
        }
    }
}

/// Whether what comes next is the end is not to be told without decrypting it.
impl<S: Wire> Wire for Parting<S> {}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Parting<S> {
    read_through!(stream);
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Parting<S> {
    write_through!(stream);
}
