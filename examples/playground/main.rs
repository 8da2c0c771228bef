//! An application that breaks on request, to try out what a cluster makes of it.
//!
//! Routes break a worker while it serves; variables of the environment break a process in its hooks. The
//! table of both is in the README beside this folder.
//!
//! ```text
//! cargo run --example playground
//! curl http://127.0.0.1:7001/segv
//! PLAYGROUND_WORKER_START=fail PLAYGROUND_WORKER_SLOT=1 cargo run --example playground
//! ```

mod agent;
mod beside;
mod fault;
#[cfg(feature = "fleet")]
mod fleet;
mod hosts;
mod jobs;
mod mail;
mod routes;
mod settings;
mod state;
mod trace;
mod worker;

use std::process::ExitCode;

use hatchery::App;

fn main() -> ExitCode {
    fault::before_everything();
    App::new("playground")
        .agent(agent::PlaygroundAgent::default())
        .worker(worker::PlaygroundWorker::default())
        .run()
}
