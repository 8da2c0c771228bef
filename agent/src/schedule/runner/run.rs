//! One run, to its outcome: in this process, or on a worker.

use std::time::Duration;

use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::child::job::{Handler, Order};
use hatchery_protocol::id::Slot;
use hatchery_protocol::schedule::Outcome;
use tokio::time::Instant;

use super::{Closing, World};

/// How long a run waits for a worker when none is ready.
const WORKER_WAIT: Duration = Duration::from_secs(30);
/// How often it looks for one meanwhile. It happens seldom, and one that was found may be about to leave.
const WORKER_RETRY: Duration = Duration::from_millis(100);

pub(super) fn log(name: &str, number: u64, outcome: &Outcome) {
    let word = outcome.as_str();
    match outcome.reason() {
        None if *outcome == Outcome::Succeeded => {
            tracing::debug!("run {number} of `{name}` {word}");
        }
        None => tracing::warn!("run {number} of `{name}` {word}"),
        Some(reason) => tracing::warn!("run {number} of `{name}` {word}: {reason}"),
    }
}

pub(super) async fn run_here(handler: &Handler, order: Order, closing: Closing) -> Outcome {
    let mut deadlines = closing.deadline.subscribe();
    let time_is_up = async {
        loop {
            let deadline = *deadlines.borrow_and_update();
            let Some(deadline) = deadline else {
                if deadlines.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                Ok(()) = deadlines.changed() => {}
            }
        }
    };
    tokio::select! {
        outcome = handler.run(order, closing.token.clone()) => outcome,
        () = time_is_up => Outcome::Unobserved,
    }
}

pub(super) async fn run_on_one<W: World>(
    world: &W,
    order: Order,
    closing: CancellationToken,
) -> Outcome {
    let patience = Instant::now() + WORKER_WAIT.min(order.timeout);
    loop {
        if let Some(outcome) = world.on_one(order.clone()).await {
            return outcome;
        }
        tokio::select! {
            () = tokio::time::sleep(WORKER_RETRY) => {}
            () = tokio::time::sleep_until(patience) => {
                return Outcome::failed("no worker was ready");
            }
            () = closing.cancelled() => {
                return Outcome::failed("no worker was ready when the agent had to leave");
            }
        }
    }
}

/// One outcome for all workers: success if there was no other, else the first one with where it was.
pub(super) fn gather(outcomes: Vec<(Slot, Outcome)>) -> Outcome {
    let count = outcomes.len();
    if count == 0 {
        return Outcome::failed("no worker was ready");
    }
    let mut bad = outcomes
        .into_iter()
        .filter(|(_, outcome)| *outcome != Outcome::Succeeded);
    let Some((slot, outcome)) = bad.next() else {
        return Outcome::Succeeded;
    };
    let others = bad.count();
    let word = outcome.as_str();
    let reason = outcome.reason().unwrap_or("no reason is known");
    Outcome::failed(format!(
        "{} of {count} workers, the first of them worker {slot}: {word}: {reason}",
        others + 1
    ))
}
