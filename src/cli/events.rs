//! `events`: following the lifecycle.

use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::event::EventRecord;
use hatchery_protocol::exit::Exit;

use super::client::Client;
use super::{Outcome, say};

/// Prints each event until the master is gone or nobody reads any more.
pub(super) fn run(client: &Client, json: bool) -> Outcome {
    let mut connection = client.connect()?;
    connection
        .send(&Request::Events)
        .map_err(|error| client.broken(&error))?;
    loop {
        // Nothing may happen for days, so there is no deadline.
        match connection.receive(None) {
            Ok(None) => return Ok(Exit::Orderly),
            Ok(Some(Reply::Event(event))) => {
                let line = if json {
                    serde_json::to_string(&event).map_err(|e| client.failed(&e.to_string()))?
                } else {
                    readable(&event)
                };
                if !say::answer(line) {
                    return Ok(Exit::Orderly);
                }
            }
            Ok(Some(Reply::Error { message })) => return Err(client.failed(&message)),
            Ok(Some(
                Reply::Status(_)
                | Reply::Metrics { .. }
                | Reply::Note { .. }
                | Reply::Finished { .. },
            )) => {}
            Err(error) => return Err(client.broken(&error)),
        }
    }
}

/// `5.120 s  worker-ready  worker 1  pid 77  gen 1  reason`, in columns.
pub(super) fn readable(event: &EventRecord) -> String {
    let (seconds, rest) = (event.ts_ms / 1000, event.ts_ms % 1000);
    let who = event.slot.map_or_else(
        || event.role.to_string(),
        |slot| format!("{} {slot}", event.role),
    );
    let pid = event
        .pid
        .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let reason = event.reason.as_deref().unwrap_or_default();
    let line = format!(
        "{seconds:>8}.{rest:03} s  {:<15}  {who:<10}  pid {pid:<7}  gen {:<3}  {reason}",
        event.event.as_str(),
        event.generation,
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::event::EventName;
    use hatchery_protocol::exit::ExitKind;
    use hatchery_protocol::id::Role;

    use super::*;

    #[test]
    fn an_event_reads_in_columns() {
        let mut event = EventRecord {
            ts_ms: 5120,
            event: EventName::WorkerExited,
            role: Role::Worker,
            slot: Some(1),
            pid: Some(77),
            generation: 1,
            reason: Some("signal 9".into()),
            exit: Some(ExitKind::Signal),
        };
        assert_eq!(
            readable(&event),
            "       5.120 s  worker-exited    worker 1    pid 77       gen 1    signal 9"
        );
        event.pid = None;
        event.slot = None;
        event.role = Role::Master;
        event.reason = None;
        assert_eq!(
            readable(&event),
            "       5.120 s  worker-exited    master      pid -        gen 1"
        );
    }
}
