//! An application as one writes it for Egg: the agent loads the configuration from a file, watches it and tells the workers; those answer
//! from memory. Each step of Egg's sequence diagram is a line of the log as it happens.
//!
//! ```text
//! echo '{"greeting":"hello"}' > egg.json
//! cargo run --example egg -- --workers 2
//! curl http://127.0.0.1:7001/          # hello, says worker 0
//! echo '{"greeting":"good morning"}' > egg.json
//! curl http://127.0.0.1:7001/          # good morning, says worker 1
//! ```

mod agent;
mod config;
mod worker;

use std::process::ExitCode;

use hatchery::App;

/// One arrow of the diagram.
fn arrow(from: &str, what: &str, to: &str) {
    tracing::info!(target: "diagram", "{from} --[{what}]--> {to}");
}

fn main() -> ExitCode {
    App::new("egg")
        .agent(agent::Secretary::default())
        .worker(worker::Web::default())
        .run()
}
