//! Where connections come from: the seam between the ways to share an address and the server.
//!
//! A source is polled only after the master has said that every process is ready. No failure of a source
//! ends its loop: a process that is out of descriptors gets some back when connections close.

mod handed;
mod shared;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::socket;
use rustix::io::Errno;

pub(crate) use self::handed::Handed;
pub(crate) use self::shared::SharedListener;
use crate::room::{Place, Room};
use crate::stream::Socket;

/// How long the loop waits after a first failure; doubled by each that follows.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);

/// How long it waits at the most: connections queue up meanwhile, and nobody is refused.
const MAX_BACKOFF: Duration = Duration::from_millis(320);

/// A source of connections.
pub(crate) trait Accept: Send + 'static {
    /// What it gives.
    type Stream: Socket;

    /// Whether it gives no more than there is room for without being told.
    const KEEPS_LIMIT: bool = false;

    /// The next connection. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// As accept(2).
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;

    /// Closes the source, after having given what clients have connected to it already.
    fn close(self, take: impl FnMut(Accepted<Self::Stream>));
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Accepted<S> {
    /// The index of the listener that it came to.
    pub(crate) listener: usize,
    pub(crate) stream: S,
}

/// Passes connections to `take` until `stop`, then closes the source.
pub(crate) async fn run<A: Accept>(
    mut source: A,
    room: Room,
    stop: CancellationToken,
    mut take: impl FnMut(Accepted<A::Stream>, Place),
) {
    let mut stopped = pin!(stop.cancelled());
    let mut backoff = FIRST_BACKOFF;
    loop {
        let next = async {
            if A::KEEPS_LIMIT {
                let accepted = source.accept().await;
                (accepted, room.squeeze_in())
            } else {
                room.admit(source.accept()).await
            }
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok(accepted) => {
                backoff = FIRST_BACKOFF;
                take(accepted, place);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // One line for a spell of failures, not one each.
                if backoff == FIRST_BACKOFF {
                    tracing::warn!("cannot accept a connection, trying on: {error}");
                }
                tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
    // Whoever waits in the queue has connected: this is no time to keep a limit.
    source.close(|accepted| take(accepted, room.squeeze_in()));
}

fn is_about_one_connection(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(socket::is_about_one_connection)
}

#[cfg(test)]
mod tests;
