//! Counters that every worker shares: how many requests there were, and how many of them from whom.
//!
//! ```text
//! cargo run --example counter -- --workers 4
//! curl http://127.0.0.1:7001/
//! curl http://127.0.0.1:7001/once/backup
//! ```
//!
//! The agent holds them, so they are right whichever worker answers, and whichever dies meanwhile.

use std::process::ExitCode;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hatchery::state::{StateError, Swap};
use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};
use serde_json::json;

/// How many requests a client may send within [`WINDOW`].
const ALLOWED: i64 = 100;

const WINDOW: Duration = Duration::from_secs(60);

struct CounterWorker;

#[async_trait]
impl Worker for CounterWorker {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        Ok(Router::new()
            .route("/", get(count))
            .route("/limited/{client}", get(limited))
            .route("/once/{job}", get(once))
            .with_state(context.clone()))
    }
}

/// Counts this request among those of all workers.
async fn count(State(worker): State<WorkerContext>) -> Result<Response, Failure> {
    let requests = worker.state().add("requests", 1).await?;
    let epoch = worker.state().epoch().await?.to_string();
    let answer = json!({ "requests": requests, "slot": worker.slot(), "epoch": epoch });
    Ok(Json(answer).into_response())
}

/// A limit that holds for all workers together: so many requests of a client in a minute.
async fn limited(
    State(worker): State<WorkerContext>,
    Path(client): Path<String>,
) -> Result<Response, Failure> {
    let window = worker.state().expiring(WINDOW);
    let requests = window.add(&format!("from/{client}"), 1).await?;
    if requests > ALLOWED {
        return Ok((StatusCode::TOO_MANY_REQUESTS, "later\n").into_response());
    }
    Ok(format!("{} left\n", ALLOWED - requests).into_response())
}

/// One request of all does the job; for a minute, others hear which worker that was.
async fn once(
    State(worker): State<WorkerContext>,
    Path(job): Path<String>,
) -> Result<String, Failure> {
    let lock = worker.state().expiring(WINDOW);
    let me = worker.pid();
    let swap = lock
        .compare_and_set(&format!("job/{job}"), None, Some(&me))
        .await?;
    Ok(match swap {
        Swap::Done => format!("{me} does it\n"),
        Swap::Differs(holder) => format!("{} has it\n", holder.unwrap_or_default()),
    })
}

/// The state is not there, or does not say.
struct Failure(StateError);

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            StateError::Rejected(_) => StatusCode::BAD_REQUEST,
            // To be tried again, by a client who may.
            StateError::NotDone(_) | StateError::Unknown(_) | StateError::Type(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        (status, format!("{}\n", self.0)).into_response()
    }
}

fn main() -> ExitCode {
    App::new("counter").worker(CounterWorker).run()
}
