//! A server that turns pictures upside down: work that takes a processor for long, done so that nobody else has to wait.
//!
//! ```text
//! cargo run --release --example image-server
//! curl --data-binary @photograph.jpg http://127.0.0.1:7001/flip --output flipped.jpg
//! ```
//!
//! `docs/articles/image-server.md` walks through it.

mod service;

use std::process::ExitCode;

use axum::Router;
use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};
use service::Settings;

struct ImageWorker;

#[async_trait]
impl Worker for ImageWorker {
    async fn start(&mut self, _context: &WorkerContext) -> Result<Router, BoxError> {
        let settings = Settings::from_environment()?;
        settings.check()?;
        Ok(service::router(settings))
    }
}

fn main() -> ExitCode {
    App::new("image-server").worker(ImageWorker).run()
}
