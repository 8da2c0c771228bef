//! `reload` and `scale`: orders that take a while. Shows each step, and ends when the outcome is known.

use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::exit::Exit;

use super::client::Client;
use super::{Failure, Outcome, events, say};

/// Has it done. After `timeout` the command gives up waiting, and the order goes on.
pub(super) fn run(client: &Client, request: &Request, timeout: Option<Duration>) -> Outcome {
    let deadline = timeout.map(|timeout| monotonic() + timeout);
    let name = &client.name;
    // A master that does not answer this would not answer the order, and is told apart from one whose
    // processes take their time.
    client.ask(&Request::Status)?;
    let mut connection = client.connect()?;
    connection
        .send(request)
        .map_err(|error| client.broken(&error))?;
    let failed = |why: &str| Failure::new(Exit::RolloutFailed, format!("{name}: {why}"));
    loop {
        match connection.receive(deadline) {
            Ok(Some(Reply::Event(event))) => say::note(events::readable(&event)),
            Ok(Some(Reply::Note { message })) => say::note(message),
            Ok(Some(Reply::Finished { error, notes })) => {
                notes.iter().for_each(say::note);
                if let Some(error) = error {
                    return Err(failed(&error));
                }
                say::note(format_args!("{name}: done"));
                return Ok(Exit::Orderly);
            }
            Ok(Some(Reply::Status(_) | Reply::Metrics { .. })) => {}
            Ok(Some(Reply::Error { message })) => return Err(client.failed(&message)),
            Ok(None) => {
                return Err(failed(
                    "its master is gone, and said nothing of the outcome",
                ));
            }
            Err(error) => {
                let (Some(timeout), true) = (timeout, has_passed(deadline)) else {
                    return Err(client.broken(&error));
                };
                let timeout = humantime::format_duration(timeout);
                return Err(client.failed(&format!(
                    "it is still at it after {timeout}, and goes on; `events` shows how"
                )));
            }
        }
    }
}

fn has_passed(deadline: Option<Duration>) -> bool {
    deadline.is_some_and(|deadline| deadline <= monotonic())
}
