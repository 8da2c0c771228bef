//! How long a connection may wait for a request's header.
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

pin_project! {
    /// The patience with one connection.
    pub(crate) struct Patience {
        limit: Option<Duration>,
        turn: Turn,
        since: Instant,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Patience {
    /// `None` is patience without end.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        let since = Instant::now();
        Self {
            limit,
            turn: Turn::default(),
            since,
            timer: limit.map(|limit| sleep_until(since + limit)),
        }
    }

    /// Makes the timer wake this task; to be called again only when the task's waker has changed.
    pub(crate) fn watch(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        if let Some(timer) = self.project().timer.as_pin_mut() {
            // What it says is asked for by `is_over`.
            let _ = timer.poll(cx);
        }
    }

    /// Whether a connection that is in this turn has waited for too long. After a `true` it begins anew.
    pub(crate) fn is_over(self: Pin<&mut Self>, turn: Turn, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        let (Some(limit), Some(mut timer)) = (*this.limit, this.timer.as_pin_mut()) else {
            return false;
        };
        if turn != *this.turn {
            *this.turn = turn;
            *this.since = Instant::now();
        }
        let mut is_over = false;
        // More than once only if the time is over as soon as it is set.
        while timer.is_elapsed() {
            let now = Instant::now();
            if turn.is_waiting() && now >= *this.since + limit {
                is_over = true;
                *this.since = now;
            }
            let next = if turn.is_waiting() { *this.since } else { now } + limit;
            timer.as_mut().reset(next);
            let _ = timer.as_mut().poll(cx);
        }
        is_over
    }
}
