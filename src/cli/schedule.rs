//! `schedule`: what the application does at certain times.

use std::time::{Duration, SystemTime};

use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::exit::Exit;
use hatchery_protocol::schedule::{Command, Outcome as Ended, Run, ScheduleStatus, Turn};

use super::client::Client;
use super::table::aligned;
use super::{Failure, Outcome, say};

/// The exit code of a run that failed: the job did, hatchery did not.
const RUN_FAILED: Exit = Exit::HookFailed;

/// Prints all schedules.
pub(super) fn list(client: &Client, json: bool) -> Outcome {
    let Reply::Status(status) = client.ask(&Request::Status)? else {
        return Err(client.failed("the master answered something else than its status"));
    };
    let schedules = status.schedules;
    if json {
        let json = serde_json::to_string(&schedules).map_err(|e| client.failed(&e.to_string()))?;
        say::answer(json);
    } else if schedules.is_empty() {
        say::answer("there are no schedules");
    } else {
        say::answer(readable(&schedules, wall_clock()).trim_end());
    }
    Ok(Exit::Orderly)
}

/// Has something done with one schedule.
pub(super) fn command(client: &Client, schedule: String, command: Command) -> Outcome {
    let name = &client.name;
    // A master that does not answer this would not answer the command.
    client.ask(&Request::Status)?;
    let mut connection = client.connect()?;
    let request = Request::Schedule {
        name: schedule,
        command,
    };
    connection
        .send(&request)
        .map_err(|error| client.broken(&error))?;
    // A run takes as long as it takes; to give up waiting does not end it.
    match connection.receive(None) {
        Ok(Some(Reply::Finished { error: None, .. })) => {
            say::note(format_args!("{name}: done"));
            Ok(Exit::Orderly)
        }
        Ok(Some(Reply::Finished {
            error: Some(error), ..
        })) => Err(Failure::new(RUN_FAILED, format!("{name}: {error}"))),
        Ok(Some(Reply::Error { message })) => Err(client.failed(&message)),
        Ok(Some(
            Reply::Status(_) | Reply::Metrics { .. } | Reply::Event(_) | Reply::Note { .. },
        )) => Err(client.failed("the master answered something else than what became of it")),
        Ok(None) => Err(Failure::new(
            RUN_FAILED,
            format!("{name}: its master is gone, and said nothing of the outcome"),
        )),
        Err(error) => Err(client.broken(&error)),
    }
}

/// Now, on the clock that patterns speak of.
#[expect(
    clippy::disallowed_methods,
    reason = "the wall clock is what schedules go by"
)]
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// In columns.
pub(super) fn readable(schedules: &[ScheduleStatus], now: SystemTime) -> String {
    let heading = [
        "SCHEDULE", "WHEN", "WHERE", "STATE", "NEXT", "RUNS", "MISSED", "SKIPPED", "LAST RUN",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(schedules.iter().map(|schedule| {
        let running = schedule.running.len();
        let state = match (running, schedule.enabled) {
            (0, true) if schedule.turn == Some(Turn::Elsewhere) => "on another host".to_owned(),
            (0, true) => "waiting".to_owned(),
            (0, false) => "disabled".to_owned(),
            (1, _) => "running".to_owned(),
            (more, _) => format!("running {more} times"),
        };
        vec![
            schedule.name.clone(),
            schedule.when.clone(),
            schedule.place.as_str().to_owned(),
            state,
            next(schedule, now),
            schedule.runs.to_string(),
            schedule.missed.to_string(),
            schedule.skipped.to_string(),
            schedule.history.first().map(last).unwrap_or_default(),
        ]
    }));
    aligned(&rows)
}

fn next(schedule: &ScheduleStatus, now: SystemTime) -> String {
    let Some(ms) = schedule.next_ms.filter(|_| schedule.enabled) else {
        return "-".to_owned();
    };
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    match then.duration_since(now) {
        Ok(left) if left < Duration::from_secs(1) => "at once".to_owned(),
        Ok(left) => {
            let left = Duration::from_secs(left.as_secs());
            format!("in {}", humantime::format_duration(left))
        }
        Err(_) => "at once".to_owned(),
    }
}

fn last(run: &Run) -> String {
    let took = humantime::format_duration(Duration::from_millis(run.duration_ms));
    match &run.outcome {
        Ended::Succeeded => format!("succeeded after {took}"),
        outcome @ (Ended::Failed { .. }
        | Ended::TimedOut
        | Ended::Lost { .. }
        | Ended::Unobserved) => {
            let word = outcome.as_str();
            match outcome.reason() {
                Some(reason) => format!("{word} after {took}: {reason}"),
                None => format!("{word} after {took}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hatchery_protocol::schedule::{Cause, Place, Running};

    #[test]
    fn people_can_read_it() {
        let report = ScheduleStatus {
            name: "report".into(),
            when: "30 2 * * * Europe/Berlin".into(),
            place: Place::OneWorker,
            enabled: true,
            next_ms: Some(3_723_000),
            runs: 7,
            missed: 1,
            history: vec![Run {
                number: 7,
                cause: Cause::Due,
                started_ms: 0,
                duration_ms: 1500,
                outcome: Ended::failed("no disk"),
            }],
            ..ScheduleStatus::default()
        };
        let refresh = ScheduleStatus {
            name: "refresh".into(),
            when: "every 5s".into(),
            place: Place::AllWorkers,
            runs: 1,
            running: vec![Running {
                number: 1,
                cause: Cause::Asked,
                started_ms: 0,
                attempt: 1,
                elsewhere: false,
            }],
            ..ScheduleStatus::default()
        };
        let bills = ScheduleStatus {
            name: "bills".into(),
            when: "0 4 * * * UTC".into(),
            place: Place::Agent,
            enabled: true,
            turn: Some(Turn::Elsewhere),
            ..ScheduleStatus::default()
        };
        assert_eq!(
            readable(&[report, refresh, bills], SystemTime::UNIX_EPOCH),
            "SCHEDULE  WHEN                      WHERE        STATE            NEXT         RUNS  MISSED  SKIPPED  LAST RUN\n\
             report    30 2 * * * Europe/Berlin  one worker   waiting          in 1h 2m 3s     7       1        0  failed after 1s 500ms: no disk\n\
             refresh   every 5s                  all workers  running          -               1       0        0\n\
             bills     0 4 * * * UTC             agent        on another host  -               0       0        0\n"
        );
    }
}
