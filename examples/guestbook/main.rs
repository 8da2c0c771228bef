//! The application of the tutorial: visitors are counted by all workers together, and the agent keeps the number in a file.
//!
//! ```text
//! cargo run --example guestbook -- --workers 2
//! curl http://127.0.0.1:7001/
//! ```

mod secretary;

use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};

use secretary::Secretary;

struct Web;

#[async_trait]
impl Worker for Web {
    // Once in each worker, before anybody can connect. What you await here, the start waits for.
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        Ok(Router::new()
            .route("/", get(welcome))
            .with_state(context.clone()))
    }
}

async fn welcome(State(worker): State<WorkerContext>) -> Result<String, StatusCode> {
    // All workers count together: the number is held by the agent.
    let visitors = worker.state().add("visitors", 1).await;
    let visitors = visitors.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let slot = worker.slot();
    Ok(format!(
        "Welcome, visitor {visitors}! Worker {slot} serves you.\n"
    ))
}

fn main() -> ExitCode {
    App::new("guestbook")
        .agent(Secretary::default())
        .worker(Web)
        .run()
}
