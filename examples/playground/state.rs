//! `POST /state`: the cluster's shared state, as a client may ask for it.
//!
//! The body is an operation, as `{"do": "add", "key": "n", "by": 1}`, with `expiry_ms` and `within_ms` if wanted, and `gate`:
//! a file without which the worker waits before it does it.

use std::path::PathBuf;
use std::time::Duration;

use axum::extract::State as Taken;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hatchery::state::{StateError, Swap};
use hatchery::{AgentContext, WorkerContext};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Asked {
    #[serde(flatten)]
    operation: Operation,
    expiry_ms: Option<u64>,
    within_ms: Option<u64>,
    gate: Option<PathBuf>,
}

/// How often a worker looks whether the gate is there, or the epoch is over.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Operation {
    Epoch,
    Get {
        key: String,
    },
    /// Read as a number, whatever it is.
    GetNumber {
        key: String,
    },
    Set {
        key: String,
        value: Value,
    },
    Add {
        key: String,
        by: i64,
    },
    /// `null` is no value.
    Swap {
        key: String,
        expected: Option<Value>,
        new: Option<Value>,
    },
    Remove {
        key: String,
    },
    /// Adds 1 in the epoch that is now, and again as soon as that says that it is over.
    AddUntilForgotten {
        key: String,
    },
}

pub(crate) fn router() -> Router<WorkerContext> {
    Router::new().route("/state", post(perform))
}

/// Lets everybody know who the agent is.
pub(crate) async fn sign(context: AgentContext) {
    if let Err(error) = context.state().set("agent", &context.pid()).await {
        tracing::warn!("nobody knows that this is the agent: {error}");
    }
}

async fn perform(
    Taken(worker): Taken<WorkerContext>,
    Json(asked): Json<Asked>,
) -> Result<Json<Value>, Failure> {
    while asked.gate.as_ref().is_some_and(|gate| !gate.exists()) {
        tokio::time::sleep(LOOK).await;
    }
    let mut state = worker.state();
    if let Some(ms) = asked.expiry_ms {
        state = state.expiring(Duration::from_millis(ms));
    }
    if let Some(ms) = asked.within_ms {
        state = state.within(Duration::from_millis(ms));
    }
    Ok(Json(match asked.operation {
        Operation::Epoch => json!(state.epoch().await?.to_string()),
        Operation::Get { key } => json!(state.get::<Value>(&key).await?),
        Operation::GetNumber { key } => json!(state.get::<i64>(&key).await?),
        Operation::Set { key, value } => json!(state.set(&key, &value).await?),
        Operation::Add { key, by } => json!(state.add(&key, by).await?),
        Operation::Swap { key, expected, new } => {
            let swap = state.compare_and_set(&key, expected.as_ref(), new.as_ref());
            match swap.await? {
                Swap::Done => json!("done"),
                Swap::Differs(value) => json!({ "differs": value }),
            }
        }
        Operation::Remove { key } => json!(state.remove(&key).await?),
        Operation::AddUntilForgotten { key } => {
            let state = state.in_epoch(state.epoch().await?);
            loop {
                match state.add(&key, 1).await {
                    Err(error @ (StateError::Rejected(_) | StateError::Type(_))) => {
                        return Err(error.into());
                    }
                    Ok(_) | Err(StateError::NotDone(_) | StateError::Unknown(_)) => {
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        }
    }))
}

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
            StateError::Type(_) => StatusCode::CONFLICT,
            StateError::NotDone(_) => StatusCode::SERVICE_UNAVAILABLE,
            // It is not known whether it was done.
            StateError::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        (status, self.0.to_string()).into_response()
    }
}
