//! How long a connection may wait for a client.
//!
//! One timer a connection, which is left to run out instead of being set anew with each request: when it
//! fires, the connection looks how long it has really waited. (hyper has a header timeout of its own. It
//! makes a timer for each request, which costs 4 % of a small one, and it begins with the first byte, so
//! that a client that sends none may stay for ever.)

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::tracker::Turn;

/// The longest waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For the header of the first request, and for the rest of a header that has begun.
    pub(crate) header: Duration,
    /// For the next request.
    pub(crate) idle: Duration,
}

impl Limits {
    /// The same limit for everything.
    pub(crate) const fn all(limit: Duration) -> Self {
        Self {
            header: limit,
            idle: limit,
        }
    }

    fn of(self, turn: Turn) -> Duration {
        if turn.is_idle() {
            self.idle
        } else {
            self.header
        }
    }

    /// However the turn changes from now on, nothing is over sooner.
    fn shortest(self) -> Duration {
        self.header.min(self.idle)
    }
}

pin_project! {
    /// The patience with one connection.
    pub(crate) struct Patience {
        limits: Limits,
        turn: Turn,
        since: Instant,
        // When the timer runs out, at the earliest.
        runs_out: Instant,
        #[pin]
        timer: Sleep,
    }
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::since(Instant::now(), limits)
    }

    /// With a connection that has been open since then.
    pub(crate) fn since(since: Instant, limits: Limits) -> Self {
        let runs_out = since + limits.shortest();
        Self {
            limits,
            turn: Turn::default(),
            since,
            runs_out,
            timer: sleep_until(runs_out),
        }
    }

    /// Makes the timer wake this task; to be called again only when the task's waker has changed.
    pub(crate) fn watch(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        // What it says is asked for by `is_over`.
        let _ = self.project().timer.poll(cx);
    }

    /// Whether a connection that is in this turn has waited for too long. After a `true` it begins anew.
    pub(crate) fn is_over(self: Pin<&mut Self>, turn: Turn, cx: &mut Context<'_>) -> bool {
        let mut this = self.project();
        if turn != *this.turn {
            *this.turn = turn;
            *this.since = Instant::now();
            // A timer is a place in memory that a request has no other reason to go to.
            if *this.since < *this.runs_out {
                return false;
            }
        }
        let mut is_over = false;
        // More than once only if the time is over as soon as it is set.
        while this.timer.is_elapsed() {
            let now = Instant::now();
            let limit = this.limits.of(turn);
            if turn.is_waiting() && now >= *this.since + limit {
                is_over = true;
                *this.since = now;
            }
            let soonest = now + this.limits.shortest();
            let next = if turn.is_waiting() {
                soonest.min(*this.since + limit)
            } else {
                soonest
            };
            *this.runs_out = next;
            this.timer.as_mut().reset(next);
            let _ = this.timer.as_mut().poll(cx);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use hatchery_protocol::child::gauge::GaugeCells;
    use tokio::time::advance;

    use super::*;
    use crate::room::Room;
    use crate::tracker::Tracker;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_runs_out_as_a_request_comes_is_set_anew() {
        let limit = Duration::from_secs(10);
        let tracker = Arc::new(Tracker::new(Arc::new(GaugeCells::new(1)), 0));
        let guard = tracker.track(0, Room::default().squeeze_in());
        let connection = guard.connection();
        let mut patience = pin!(Patience::new(Limits::all(limit)));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        patience.as_mut().watch(&mut cx);
        advance(limit).await;
        connection.request_begun();
        assert!(!patience.as_mut().is_over(connection.turn(), &mut cx));
        assert!(!patience.timer.is_elapsed(), "nobody would be woken up");
        connection.request_ended();
        assert!(!patience.as_mut().is_over(connection.turn(), &mut cx));
        advance(limit).await;
        assert!(patience.as_mut().is_over(connection.turn(), &mut cx));
    }
}
