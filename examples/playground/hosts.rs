//! A worker's share in a fleet of hosts: it writes down what it hears, says who it is when asked, and does what a client
//! wants by `POST /fleet`, as `{"do": "broadcast", "topic": "said", "payload": "hello"}`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use hatchery::fleet::{FleetClient, FleetError, FleetMessage, Subscription};
use hatchery::{BoxError, WorkerContext};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::trace::Notes;

/// A line of `PLAYGROUND_HOSTS`.
#[derive(Serialize)]
struct Note {
    slot: u32,
    pid: u32,
    from: String,
    said: Value,
}

impl Note {
    fn new(context: &WorkerContext, message: &FleetMessage, said: Value) -> Self {
        Self {
            slot: context.slot(),
            pid: context.pid(),
            from: message.from().to_string(),
            said,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Command {
    Broadcast {
        topic: String,
        payload: Value,
        #[serde(default)]
        elsewhere: bool,
    },
    /// Says these numbers, one after the other, as far as it goes.
    Count {
        topic: String,
        from: u64,
        to: u64,
    },
    /// Says so many zeros.
    Large {
        topic: String,
        bytes: usize,
    },
    Ask {
        topic: String,
        within_ms: u64,
    },
    Members,
    /// Listens, and stops to.
    Subscribe {
        topic: String,
    },
}

/// Listens to what workers say, and agents, if `PLAYGROUND_HOSTS` names a file to write it to, and answers who this is.
pub(crate) fn listen(context: &WorkerContext) -> Result<(), BoxError> {
    let Some(notes) = Notes::open("PLAYGROUND_HOSTS")? else {
        return Ok(());
    };
    let notes = Arc::new(notes);
    let fleet = context.fleet();
    for topic in ["said", "here"] {
        let said = fleet.subscribe(topic)?;
        tokio::spawn(note(context.clone(), Arc::clone(&notes), said));
    }
    tokio::spawn(hold(context.clone(), notes, fleet.subscribe("held")?));
    tokio::spawn(introduce(context.clone(), fleet.subscribe("who")?));
    // Taken, and dropped without an answer.
    let mut ignored = fleet.subscribe("ignored")?;
    tokio::spawn(async move {
        loop {
            ignored.next().await;
        }
    });
    Ok(())
}

async fn note(context: WorkerContext, notes: Arc<Notes>, mut said: Subscription) {
    loop {
        let message = said.next().await;
        let said = message
            .decode()
            .unwrap_or_else(|_| json!(message.payload().len()));
        notes.write(&Note::new(&context, &message, said));
    }
}

/// Takes questions, says so, and neither answers nor drops them.
async fn hold(context: WorkerContext, notes: Arc<Notes>, mut asked: Subscription) {
    let mut held = Vec::new();
    loop {
        let question = asked.next().await;
        notes.write(&Note::new(&context, &question, json!("held")));
        held.push(question);
    }
}

async fn introduce(context: WorkerContext, mut asked: Subscription) {
    loop {
        let question = asked.next().await;
        let me = json!({ "slot": context.slot(), "pid": context.pid() });
        if let Err(error) = question.answer(&me).await {
            tracing::warn!("nobody hears who this is: {error}");
        }
    }
}

pub(crate) fn router() -> Router<WorkerContext> {
    Router::new().route("/fleet", post(follow))
}

async fn follow(
    State(fleet): State<FleetClient>,
    Json(command): Json<Command>,
) -> Json<Result<Value, FleetError>> {
    Json(perform(&fleet, command).await)
}

async fn perform(fleet: &FleetClient, command: Command) -> Result<Value, FleetError> {
    Ok(match command {
        Command::Broadcast {
            topic,
            payload,
            elsewhere: false,
        } => json!(fleet.broadcast(&topic, &payload).await?),
        Command::Broadcast { topic, payload, .. } => {
            json!(fleet.broadcast_elsewhere(&topic, &payload).await?)
        }
        Command::Count { topic, from, to } => {
            for number in from..=to {
                fleet.broadcast(&topic, &number).await?;
            }
            json!(to)
        }
        Command::Large { topic, bytes } => {
            json!(fleet.broadcast_bytes(&topic, &vec![0; bytes]).await?)
        }
        Command::Ask { topic, within_ms } => {
            let within = Duration::from_millis(within_ms);
            let mut answers = fleet.request_all(&topic, &(), within).await?;
            let mut said = Vec::new();
            while let Some(answer) = answers.next().await {
                said.push(json!([answer.from, answer.decode::<Value>()?]));
            }
            json!({ "answers": said, "missing": answers.missing() })
        }
        Command::Members => json!(fleet.members().await?),
        Command::Subscribe { topic } => json!(fleet.subscribe(&topic)?.topic()),
    })
}
