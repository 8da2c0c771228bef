//! Leaving without losing a request.
//!
//! | phase | HTTP/1 | HTTP/2 | streams, WebSockets | until |
//! |---|---|---|---|---|
//! | 1 last call | what waits in the queue is accepted, then the listener closes | | | nothing waits |
//! | 2 lame duck | answers carry `Connection: close` | GOAWAY | go on | the lame duck is over |
//! | 3 closing | idle connections close | GOAWAY | the shutdown token is cancelled | the deadline |
//! | 4 abort | cut off | cut off | cut off | |
//!
//! Every phase ends as soon as no connection is open. Phase 2 is there because a close can meet a request
//! half-way: a client that is told with its answer that this was the last one loses nothing.

use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::child::{DrainCause, Draining, Shutdown};
use hatchery_protocol::clock::monotonic;
use tokio::time::{Instant, sleep_until, timeout};

use crate::server::Server;
use crate::tracker::{Phase, Tracker};

/// How long tasks get to notice that they were cut off. They need one turn of the runtime.
const ABORT_GRACE: Duration = Duration::from_millis(100);

/// What is kept of an orphan's grace for `before_close`: its process is ended at the deadline itself,
/// while a master, as long as there is one, allows for more.
const ORPHAN_RESERVE: Duration = Duration::from_millis(500);

/// Drains `server` by `order`, and by stricter ones that may come. Returns when no connection is open, at
/// the deadline at the latest.
pub(crate) async fn drain(
    server: &mut Server,
    order: Draining,
    shutdown: &Shutdown,
    lame_duck: Duration,
) {
    let begun = Instant::now();
    let tracker = Arc::clone(server.tracker());
    // Before the last call: whoever is accepted by it is to be told at once.
    tracker.enter(Phase::LameDuck);
    server.stop_accepting().await;

    let mut drain = Drain {
        order,
        end: end_of(order),
        shutdown,
        tracker: &tracker,
    };
    let empty = drain
        .wait(|end| {
            // The other half belongs to what ends only when the token is cancelled.
            let half = end.saturating_duration_since(begun) / 2;
            begun + lame_duck.min(half)
        })
        .await;
    shutdown.token().cancel();
    if empty {
        return;
    }
    tracker.enter(Phase::Closing);
    if drain.wait(|end| end).await {
        return;
    }
    tracing::warn!(
        "the time to drain is over, {} connections are cut off",
        tracker.len()
    );
    tracker.enter(Phase::Aborted);
    let _ = timeout(ABORT_GRACE, tracker.empty()).await;
}

struct Drain<'a> {
    order: Draining,
    end: Instant,
    shutdown: &'a Shutdown,
    tracker: &'a Tracker,
}

impl Drain<'_> {
    /// Waits until no connection is open (`true`) or until the moment that `until` makes of the end of
    /// the drain.
    async fn wait(&mut self, until: impl Fn(Instant) -> Instant) -> bool {
        loop {
            tokio::select! {
                biased;
                () = self.tracker.empty() => return true,
                stricter = self.shutdown.hastened(self.order) => {
                    self.order = stricter;
                    self.end = self.end.min(end_of(stricter));
                }
                () = sleep_until(until(self.end)) => return false,
            }
        }
    }
}

/// When connections are cut off, on the runtime's clock.
pub(crate) fn end_of(order: Draining) -> Instant {
    let left = order.deadline.saturating_sub(monotonic());
    let left = match order.cause {
        DrainCause::MasterLost => left.saturating_sub(ORPHAN_RESERVE.min(left / 10)),
        DrainCause::Asked | DrainCause::Signal | DrainCause::HookFailed => left,
    };
    Instant::now() + left
}

#[cfg(test)]
mod tests;
