//! The benchmark's router as an application of hatchery, with an agent that does nothing.

use std::process::ExitCode;

use axum::Router;
use hatchery::{Agent, AgentContext, App, BoxError, Worker, WorkerContext, async_trait};

struct Idle;

#[async_trait]
impl Agent for Idle {
    async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        Ok(())
    }
}

struct Server;

#[async_trait]
impl Worker for Server {
    async fn start(&mut self, _context: &WorkerContext) -> Result<Router, BoxError> {
        Ok(hatchery_bench::router())
    }
}

fn main() -> ExitCode {
    App::new("clustered").agent(Idle).worker(Server).run()
}
