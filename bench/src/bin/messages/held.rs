//! What the agent holds for all: small state, and a client that workers follow.
//!
//! | route | number |
//! |---|---|
//! | `/adds/{seconds}` | `state.add` a second, by all workers together, each with [`AT_ONCE`] under way |
//! | `/add/{count}` | median time of one `state.add`, in microseconds |
//! | `/latest/{count}` | mean time to read a value that is followed, in nanoseconds |
//! | `/invoke/{count}` | median time of a call of the leader, in microseconds |

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use hatchery::messenger::Target;
use hatchery::{BoxError, Feed, Leader, WorkerContext, async_trait};
use serde_json::Value;

use super::{DEADLINE, Measured, failed, median, rate};

/// How many additions of a worker are under way at any time.
const AT_ONCE: usize = 16;
pub(super) const LEADER: &str = "constant";
const KEY: &str = "requests";
/// Where a worker is asked to add for so many seconds.
const TOPIC: &str = "adds";

/// A client whose values never change.
pub(super) struct Constant;

#[async_trait]
impl Leader for Constant {
    async fn subscribe(&self, key: &str, feed: Feed) -> Result<(), BoxError> {
        Ok(feed.put(key)?)
    }

    async fn invoke(&self, _method: &str, argument: Value) -> Result<Value, BoxError> {
        Ok(argument)
    }
}

/// Adds when asked, and answers how often it did.
pub(super) fn listen(context: &WorkerContext) -> Result<(), BoxError> {
    let mut asked = context.messenger().subscribe(TOPIC)?;
    let context = context.clone();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let Ok(seconds) = message.json::<f64>() else {
                continue;
            };
            let adding: Vec<_> = (0..AT_ONCE)
                .map(|_| tokio::spawn(keep_adding(context.clone(), seconds)))
                .collect();
            let mut count = 0;
            for adding in adding {
                count += adding.await.unwrap_or_default();
            }
            // Whoever asked may have given up.
            let _ = message.reply(&count).await;
        }
    });
    Ok(())
}

async fn keep_adding(context: WorkerContext, seconds: f64) -> u64 {
    let state = context.state();
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed().as_secs_f64() < seconds && state.add(KEY, 1).await.is_ok() {
        count += 1;
    }
    count
}

pub(super) async fn adds(
    State(context): State<WorkerContext>,
    Path(seconds): Path<f64>,
) -> Measured {
    let state = context.state();
    let before = state.add(KEY, 0).await.map_err(failed)?;
    let begun = Instant::now();
    let deadline = DEADLINE + Duration::from_secs_f64(seconds);
    let replies = context
        .messenger()
        .request_all(Target::Workers, TOPIC, &seconds, deadline);
    let mut replies = replies.await.map_err(failed)?;
    let mut count = 0;
    while let Some(reply) = replies.next().await {
        count += reply.json::<u64>().map_err(failed)?;
    }
    let measured = rate(count, begun);
    let counted = state.add(KEY, 0).await.map_err(failed)? - before;
    if u64::try_from(counted) == Ok(count) {
        Ok(measured)
    } else {
        Err(failed(format!("{count} additions made {counted}")))
    }
}

pub(super) async fn add(
    State(context): State<WorkerContext>,
    Path(count): Path<usize>,
) -> Measured {
    let state = context.state();
    median(count, || {
        let state = state.clone();
        async move { state.add(KEY, 1).await.map(drop).map_err(failed) }
    })
    .await
}

pub(super) async fn latest(
    State(context): State<WorkerContext>,
    Path(count): Path<u32>,
) -> Measured {
    let mut followed = context.follower(LEADER).subscribe::<String>("value");
    followed.next().await.map_err(failed)?;
    let begun = Instant::now();
    for _ in 0..count {
        black_box(followed.latest().map_err(failed)?);
    }
    Ok((begun.elapsed().as_secs_f64() * 1e9 / f64::from(count)).to_string())
}

pub(super) async fn invoke(
    State(context): State<WorkerContext>,
    Path(count): Path<usize>,
) -> Measured {
    let follower = context.follower(LEADER);
    median(count, || {
        let follower = follower.clone();
        async move {
            let answer: Result<String, _> = follower.invoke("echo", "hello").await;
            answer.map(drop).map_err(failed)
        }
    })
    .await
}
