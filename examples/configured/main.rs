//! An application with a configuration of its own: typed, checked before anything starts, changed by a reload.
//!
//! ```text
//! cargo run --example configured -- --config examples/configured/app.toml
//! curl http://127.0.0.1:7001/
//! curl http://127.0.0.1:7001/agent
//! ```
//!
//! Change `greeting` in the file, and `cargo run --example configured -- reload`: workers are replaced by such as know the new one, and
//! the agent, which lives on, is told.

mod settings;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use hatchery::messenger::Target;
use hatchery::{Agent, AgentContext, App, BoxError, Messenger, Worker, WorkerContext, async_trait};
use serde_json::{Value, json};

use settings::Settings;

#[derive(Default)]
struct ConfiguredAgent {
    known: Arc<Mutex<Option<Known>>>,
}

/// What the agent works with.
struct Known {
    settings: Settings,
    changes: u32,
}

#[async_trait]
impl Agent for ConfiguredAgent {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known {
            settings: context.config()?,
            changes: 0,
        });
        let mut questions = context.messenger().subscribe("settings")?;
        let known = Arc::clone(&self.known);
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                let answer = known
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_ref()
                    .map(show);
                // Whoever asked may be gone.
                let _ = question.reply(&answer).await;
            }
        });
        Ok(())
    }

    async fn config_changed(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let new: Settings = context.config()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *known {
            if known.settings.upstream.region != new.upstream.region {
                // What cannot change in place: an agent that begins anew takes over.
                return Err("the region has changed".into());
            }
            known.settings = new;
            known.changes += 1;
        }
        Ok(())
    }
}

/// The token is a secret, so it is not shown.
fn show(known: &Known) -> Value {
    let upstream = &known.settings.upstream;
    json!({
        "pid": std::process::id(),
        "changes": known.changes,
        "greeting": known.settings.greeting,
        "region": upstream.region,
        "token_length": upstream.token.len(),
        "attempts": upstream.attempts.0,
        "patience_seconds": upstream.patience.time().as_secs(),
    })
}

struct ConfiguredWorker;

#[async_trait]
impl Worker for ConfiguredWorker {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let settings: Settings = context.config()?;
        Ok(Router::new()
            .route("/", get(greet).with_state(Arc::new(settings)))
            .route("/agent", get(agent).with_state(context.messenger().clone())))
    }
}

/// A worker's settings never change: the next worker has the new ones.
async fn greet(State(settings): State<Arc<Settings>>) -> String {
    format!("{} {}", settings.greeting, settings.names.join(" and "))
}

/// What the agent knows.
async fn agent(State(messenger): State<Messenger>) -> Result<Json<Value>, (StatusCode, String)> {
    let answer = messenger.request(Target::Agent, "settings", &(), Duration::from_secs(1));
    let unavailable = |error: hatchery::messenger::RequestError| {
        (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    };
    answer.await.map(Json).map_err(unavailable)
}

fn main() -> ExitCode {
    App::new("configured")
        .config::<Settings>()
        .agent(ConfiguredAgent::default())
        .worker(ConfiguredWorker)
        .run()
}
