//! An agent that is a member of a fleet, if there is one: it says that it is there, listens to the others, and
//! writes down what it hears and what it holds.

use std::sync::Arc;
use std::time::Duration;

use hatchery::fleet::Fleet;
use hatchery::{AgentContext, BoxError};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::trace::Notes;

/// How often it says that it is there.
const OFTEN: Duration = Duration::from_millis(50);

/// What is written to `PLAYGROUND_FLEET`, a line each.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// From this process.
    Heard(u32),
    /// With this token.
    Held(u64),
    Lost(u64),
    /// So many members are seen.
    Members(usize),
    Connected(bool),
}

/// Does all of it until it is dropped, or out of office.
pub(crate) fn join_in(context: &AgentContext) -> Result<Option<JoinHandle<()>>, BoxError> {
    let Some(notes) = Notes::open("PLAYGROUND_FLEET")? else {
        return Ok(None);
    };
    let notes = Arc::new(notes);
    let fleet = context.fleet().clone();
    let mut ear = fleet.subscribe("here")?;
    let lease = fleet.lease("job")?;
    let out_of_office = context.standing_down().clone();
    Ok(Some(tokio::spawn(async move {
        let hear = async {
            let mut heard = Vec::new();
            loop {
                let from: u32 = ear.next().await.decode().unwrap_or_default();
                if !heard.contains(&from) {
                    heard.push(from);
                    notes.write(&Note::Heard(from));
                }
            }
        };
        let hold = async {
            loop {
                let token = lease.held().await;
                notes.write(&Note::Held(token));
                lease.lost(token).await;
                notes.write(&Note::Lost(token));
            }
        };
        tokio::select! {
            () = hear => {}
            () = hold => {}
            () = look(&fleet, &notes) => {}
            () = out_of_office.cancelled() => {}
        }
        if let Some(token) = lease.token() {
            notes.write(&Note::Lost(token));
        }
        lease.release().await;
    })))
}

/// Says that it is there, and writes what it sees when that has changed.
async fn look(fleet: &Fleet, notes: &Notes) {
    let mut tick = tokio::time::interval(OFTEN);
    let (mut connected, mut members) = (None, None);
    loop {
        tick.tick().await;
        let now = fleet.status().is_some_and(|status| status.connected);
        if connected.replace(now) != Some(now) {
            notes.write(&Note::Connected(now));
        }
        // Without a connection neither is to be had, and both say so.
        let _ = fleet.broadcast("here", &std::process::id()).await;
        if let Ok(now) = fleet.members().await
            && members.replace(now.len()) != Some(now.len())
        {
            notes.write(&Note::Members(now.len()));
        }
    }
}
