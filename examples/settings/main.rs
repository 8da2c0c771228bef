//! A configuration centre that one process talks to, and that all workers follow: here, a JSON file.
//!
//! ```text
//! SETTINGS_FILE=/tmp/settings.json cargo run --example settings -- --workers 4
//! curl -X PUT -d '"closed on Sunday"' -H 'content-type: application/json' http://127.0.0.1:7001/settings/banner
//! curl http://127.0.0.1:7001/
//! curl http://127.0.0.1:7001/settings
//! ```
//!
//! Edit the file: workers have the new values without asking for them, and only the agent reads it.

mod file;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hatchery::follower::{FollowError, Followed, Follower};
use hatchery::{Agent, AgentContext, App, BoxError, Worker, WorkerContext, async_trait};
use serde_json::Value;

/// What leader and followers call it.
const NAME: &str = "settings";

/// How long a request waits for the agent.
const PATIENCE: Duration = Duration::from_secs(1);

struct SettingsAgent;

#[async_trait]
impl Agent for SettingsAgent {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let path = std::env::var_os("SETTINGS_FILE").unwrap_or_else(|| "settings.json".into());
        context.lead(NAME, file::SettingsFile::watch(path.into()))?;
        Ok(())
    }
}

struct SettingsWorker;

#[derive(Clone)]
struct Settings {
    follower: Follower,
    /// Followed all the time, so it is here when it is needed.
    banner: Arc<Followed<String>>,
}

#[async_trait]
impl Worker for SettingsWorker {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let follower = context.follower(NAME).within(PATIENCE);
        let banner = Arc::new(follower.subscribe("banner"));
        Ok(Router::new()
            .route("/", get(page))
            .route("/settings", get(keys))
            .route("/settings/{key}", get(read).put(write))
            .with_state(Settings { follower, banner })
            .route(
                "/prices",
                get(prices).with_state(context.follower("prices")),
            ))
    }
}

/// Waits for nothing, and needs no agent.
async fn page(State(settings): State<Settings>) -> Result<String, Failure> {
    let banner = settings.banner.latest()?;
    Ok(banner.unwrap_or_else(|| "welcome".into()))
}

async fn keys(State(settings): State<Settings>) -> Result<Json<Vec<String>>, Failure> {
    Ok(Json(settings.follower.invoke("keys", &()).await?))
}

/// Follows a key for as long as it takes to get its value.
async fn read(
    State(settings): State<Settings>,
    Path(key): Path<String>,
) -> Result<Json<Value>, Failure> {
    let mut followed = settings.follower.subscribe(&key);
    match tokio::time::timeout(PATIENCE, followed.next()).await {
        Ok(value) => Ok(Json(value?)),
        Err(_) => Err(Failure(StatusCode::NOT_FOUND, format!("no `{key}` yet"))),
    }
}

/// What happens with a name that the agent does not know.
async fn prices(State(prices): State<Follower>) -> Result<Json<Value>, Failure> {
    Ok(Json(prices.invoke("today", &()).await?))
}

async fn write(
    State(settings): State<Settings>,
    Path(key): Path<String>,
    Json(value): Json<Value>,
) -> Result<StatusCode, Failure> {
    settings.follower.publish(&key, &value).await?;
    Ok(StatusCode::NO_CONTENT)
}

struct Failure(StatusCode, String);

impl From<FollowError> for Failure {
    fn from(error: FollowError) -> Self {
        let status = match error {
            FollowError::Refused(_) => StatusCode::BAD_REQUEST,
            FollowError::NotDone(_) => StatusCode::SERVICE_UNAVAILABLE,
            FollowError::Type(_) => StatusCode::INTERNAL_SERVER_ERROR,
            // It is not known whether it was done.
            FollowError::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

fn main() -> ExitCode {
    App::new("settings")
        .agent(SettingsAgent)
        .worker(SettingsWorker)
        .run()
}
