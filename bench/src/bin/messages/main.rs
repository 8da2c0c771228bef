//! Processes that talk to each other, measured from inside. Each route measures once and answers with a number.
//!
//! | route | number |
//! |---|---|
//! | `/broadcast/{seconds}` | deliveries a second: 100 bytes from this worker to all workers |
//! | `/echo/{count}` | median time of a request to the agent and its answer, in microseconds |
//! | `/large/{seconds}` | payloads of 1 MiB a second, from this worker to the agent |
//! | `/flood/{seconds}` | messages a second that were accepted, to the worker in the next slot |
//!
//! [`held`] has those for what the agent holds.

mod held;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use hatchery::messenger::{SendError, Target};
use hatchery::{Agent, AgentContext, App, BoxError, Messenger, Worker, WorkerContext, async_trait};

use held::Constant;

const DEADLINE: Duration = Duration::from_secs(20);

type Measured = Result<String, (StatusCode, String)>;

fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// Counts what comes, and answers how much came before the question.
fn listen(messenger: &Messenger) -> Result<(), BoxError> {
    let mut texts = messenger.subscribe("text")?;
    tokio::spawn(async move {
        let mut count: u64 = 0;
        while let Some(message) = texts.next().await {
            if message.wants_reply() {
                // Whoever asked may have given up.
                let _ = message.reply(&count).await;
                count = 0;
            } else if message.json::<String>().is_ok() {
                count += 1;
            }
        }
    });
    let mut echoes = messenger.subscribe("echo")?;
    tokio::spawn(async move {
        while let Some(message) = echoes.next().await {
            let payload = message.payload.clone();
            let _ = message.reply_bytes(payload).await;
        }
    });
    Ok(())
}

async fn broadcast(State(messenger): State<Messenger>, Path(seconds): Path<f64>) -> Measured {
    let text = "x".repeat(100);
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        match messenger.send(Target::Workers, "text", &text) {
            Ok(reach) if reach.full == 0 => {}
            Ok(_) | Err(SendError::Full(_)) => {
                messenger.room(Target::Workers).await.map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    messenger.room(Target::Workers).await.map_err(failed)?;
    let replies = messenger.request_all(Target::Workers, "text", &(), DEADLINE);
    let mut replies = replies.await.map_err(failed)?;
    let mut count = 0;
    while let Some(reply) = replies.next().await {
        count += reply.json::<u64>().map_err(failed)?;
    }
    Ok(rate(count, begun))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of messages is far below 2^52"
)]
fn rate(count: u64, begun: Instant) -> String {
    (count as f64 / begun.elapsed().as_secs_f64()).to_string()
}

async fn echo(State(messenger): State<Messenger>, Path(count): Path<usize>) -> Measured {
    median(count, || {
        let messenger = messenger.clone();
        async move {
            let asked = messenger.request(Target::Agent, "echo", "hello", DEADLINE);
            let answer: Result<String, _> = asked.await;
            answer.map(drop).map_err(failed)
        }
    })
    .await
}

/// The median time of so many calls, one after the other, in microseconds.
async fn median<F>(count: usize, call: impl Fn() -> F) -> Measured
where
    F: Future<Output = Result<(), (StatusCode, String)>>,
{
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        call().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let median = times.get(count / 2).copied().unwrap_or_default();
    Ok((median.as_secs_f64() * 1e6).to_string())
}

async fn large(State(messenger): State<Messenger>, Path(seconds): Path<f64>) -> Measured {
    let payload = axum::body::Bytes::from(vec![b'x'; 1 << 20]);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed().as_secs_f64() < seconds {
        match messenger.send_bytes(Target::Agent, "large", payload.clone()) {
            Ok(_) => count += 1,
            Err(SendError::Full(_)) => messenger.room(Target::Agent).await.map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
    }
    // Behind all of them, which may have left no room.
    messenger.room(Target::Agent).await.map_err(failed)?;
    let answer: Result<String, _> = messenger.request(Target::Agent, "echo", "", DEADLINE).await;
    answer.map_err(failed)?;
    Ok(rate(count, begun))
}

async fn flood(State(context): State<WorkerContext>, Path(seconds): Path<f64>) -> Measured {
    let messenger = context.messenger();
    let to = Target::Slot((context.slot() + 1) % context.settings().workers);
    let text = "x".repeat(100);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed().as_secs_f64() < seconds {
        match messenger.send(to, "text", &text) {
            Ok(_) => count += 1,
            // A sender that does not care for room.
            Err(SendError::Full(_)) => tokio::task::yield_now().await,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(rate(count, begun))
}

struct Listener;

#[async_trait]
impl Agent for Listener {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let mut payloads = context.messenger().subscribe("large")?;
        tokio::spawn(async move { while payloads.next().await.is_some() {} });
        context.lead(held::LEADER, Constant)?;
        listen(context.messenger())
    }
}

#[async_trait]
impl Worker for Listener {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        listen(context.messenger())?;
        held::listen(context)?;
        let router = Router::new()
            .route("/", get(|| async { "Hello World" }))
            .route("/whoami", get(|| async { std::process::id().to_string() }))
            .route("/broadcast/{seconds}", get(broadcast))
            .route("/echo/{count}", get(echo))
            .route("/large/{seconds}", get(large))
            .route("/flood/{seconds}", get(flood))
            .route("/adds/{seconds}", get(held::adds))
            .route("/add/{count}", get(held::add))
            .route("/latest/{count}", get(held::latest))
            .route("/invoke/{count}", get(held::invoke));
        Ok(router.with_state(context.clone()))
    }
}

fn main() -> ExitCode {
    App::new("messages").agent(Listener).worker(Listener).run()
}
