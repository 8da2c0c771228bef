//! The smallest application that has everything: an agent that says how many there are, and workers that answer.
//!
//! ```text
//! cargo run --example hello
//! curl http://127.0.0.1:7001/
//! curl http://127.0.0.1:7001/whoami
//! ```

use std::process::ExitCode;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use hatchery::{Agent, AgentContext, App, BoxError, Worker, WorkerContext, async_trait};
use serde_json::{Value, json};

/// What must exist once, however many workers there are.
struct HelloAgent;

#[async_trait]
impl Agent for HelloAgent {
    async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        tracing::info!("the agent is ready, the workers may start");
        Ok(())
    }

    async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let workers = context.members().now().workers.len();
        tracing::info!("everybody is ready, {workers} workers among them");
        Ok(())
    }
}

/// What answers requests: N processes, each with a router of its own.
struct HelloWorker;

#[async_trait]
impl Worker for HelloWorker {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        tracing::info!("worker process {} started", context.pid());
        Ok(Router::new()
            .route("/", get(|| async { "Hello World" }))
            .route("/whoami", get(whoami))
            .with_state(context.clone()))
    }
}

async fn whoami(State(worker): State<WorkerContext>) -> Json<Value> {
    Json(json!({ "slot": worker.slot(), "pid": worker.pid() }))
}

/// Every process of the cluster begins here; `run` finds out which one this is.
fn main() -> ExitCode {
    App::new("hello")
        .agent(HelloAgent)
        .worker(HelloWorker)
        .run()
}
