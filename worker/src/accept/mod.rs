//! Where connections come from: the seam between the ways to share an address and the server.
//!
//! A source is polled only after the master has said that every process is ready. No failure of a source
//! ends its loop: a process that is out of descriptors gets some back when connections close.

mod shared;

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hatchery_protocol::boot::{ListenerBoot, Source};
use hatchery_protocol::child::CancellationToken;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::shared::SharedListener;
use crate::room::{Place, Room};

/// How long the loop waits after a first failure; doubled by each that follows.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);

/// How long it waits at the most: connections queue up meanwhile, and nobody is refused.
const MAX_BACKOFF: Duration = Duration::from_millis(320);

/// A source of connections.
pub(crate) trait Accept: Send + 'static {
    /// What it gives.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    ///
    /// # Errors
    ///
    /// As accept(2).
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;

    /// Closes the source, after having given what clients have connected to it already.
    fn close(self, take: impl FnMut(Self::Stream));
}

/// Takes the socket that came with `boot` into use. To be called on the runtime, once the master listens.
///
/// # Errors
///
/// The runtime cannot watch it: out of memory, or of watches.
pub(crate) fn open(boot: &ListenerBoot, socket: OwnedFd) -> io::Result<SharedListener> {
    match boot.source {
        Source::Accept => SharedListener::open(boot.family, socket),
    }
}

/// Passes connections to `take` until `stop`, then closes the source.
pub(crate) async fn run<A: Accept>(
    mut source: A,
    room: Room,
    stop: CancellationToken,
    mut take: impl FnMut(A::Stream, Place),
) {
    let mut stopped = pin!(stop.cancelled());
    let mut backoff = FIRST_BACKOFF;
    loop {
        let next = async {
            let place = room.place().await;
            (poll_fn(|cx| source.poll_accept(cx)).await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok(stream) => {
                backoff = FIRST_BACKOFF;
                take(stream, place);
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
    source.close(|stream| take(stream, Place::default()));
}

/// Whether an error belongs to the connection that was about to be accepted: the next may well succeed.
/// accept(2) lists pending network errors that Linux reports this way.
fn is_about_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
        )
    )
}

#[cfg(test)]
mod tests;
