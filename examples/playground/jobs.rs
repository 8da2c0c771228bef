//! Schedules and jobs by order of the environment.

use std::time::Duration;

use hatchery::schedule::{Missed, Overlap, Schedule};
use hatchery::{BoxError, Job, WorkerContext};

use crate::trace::Ledger;
use crate::{fault, settings};

/// The jobs that every worker knows, each by what it does.
const JOBS: [&str; 7] = ["ok", "fail", "panic", "hang", "slow", "gated", "die-once"];

/// How long `slow` takes, unless the process leaves.
const SLOW: Duration = Duration::from_millis(1500);

/// How often `gated` looks whether its gate is open.
const LOOK: Duration = Duration::from_millis(10);

/// `PLAYGROUND_SCHEDULES`: schedules with `;` in between, each a name and words; or a file with that, after an `@`.
pub(crate) fn schedules() -> Result<Vec<Schedule>, BoxError> {
    let mut text = std::env::var("PLAYGROUND_SCHEDULES").unwrap_or_default();
    if let Some(path) = text.strip_prefix('@') {
        text = std::fs::read_to_string(path)
            .map_err(|error| format!("PLAYGROUND_SCHEDULES={text}: {error}"))?;
    }
    let each = text.split(';').map(str::trim).filter(|one| !one.is_empty());
    each.map(schedule).collect()
}

fn schedule(text: &str) -> Result<Schedule, BoxError> {
    let (name, words) = text.split_once(' ').unwrap_or((text, ""));
    let mut words = words.split_whitespace().peekable();
    let mut schedule = match words.peek().and_then(|word| word.split_once('=')) {
        Some(("every", ms)) => Schedule::every(name, millis(ms)?),
        Some(("cron", pattern)) => Schedule::cron(name, pattern.replace('_', " ")),
        _ => Schedule::at_start(name),
    };
    let mut job = None;
    let mut in_agent = false;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        schedule = match key {
            "every" | "cron" => schedule,
            "zone" => schedule.zone(value),
            "job" => {
                job = Some(value.to_owned());
                schedule
            }
            "all" => schedule.on_all_workers(),
            "agent" => {
                in_agent = true;
                schedule
            }
            "immediate" => schedule.immediate(),
            "disabled" => schedule.disabled(),
            "retry" => schedule.retry_lost(),
            "fleet" => schedule.once_per_fleet(),
            "queue" => schedule.overlap(Overlap::Queue),
            "allow" => schedule.overlap(Overlap::Allow),
            "skip-missed" => schedule.missed(Missed::Skip),
            "timeout" => schedule.timeout(millis(value)?),
            "jitter" => schedule.jitter(millis(value)?),
            _ => {
                return Err(
                    format!("PLAYGROUND_SCHEDULES: `{word}` is no word for a schedule").into(),
                );
            }
        };
    }
    let job = job.unwrap_or_else(|| "ok".to_owned());
    if in_agent {
        return Ok(schedule.in_agent(move |run| work(job.clone(), None, run)));
    }
    Ok(schedule.job(job))
}

fn millis(text: &str) -> Result<Duration, BoxError> {
    let ms = text
        .parse()
        .map_err(|_| format!("PLAYGROUND_SCHEDULES: `{text}` are no milliseconds"))?;
    Ok(Duration::from_millis(ms))
}

/// Makes all jobs known.
pub(crate) fn register(context: &WorkerContext) {
    let slot = context.slot();
    for job in JOBS {
        context.job(job, move |run| work(job.to_owned(), Some(slot), run));
    }
}

async fn work(job: String, slot: Option<u32>, run: Job) -> Result<(), BoxError> {
    let ledger = Ledger::open(slot)?;
    ledger.write(&run, "begin")?;
    match job.as_str() {
        "fail" => return Err("this was asked for".into()),
        "panic" => fault::panic(),
        "hang" => std::future::pending().await,
        "slow" => tokio::time::sleep(SLOW).await,
        "gated" => {
            let gates = settings::path("PLAYGROUND_GATES")?.ok_or("PLAYGROUND_GATES is not set")?;
            let gate = gates.join(run.schedule());
            while !gate.exists() {
                tokio::time::sleep(LOOK).await;
            }
        }
        "die-once" if run.attempt() == 1 => std::process::abort(),
        _ => {}
    }
    ledger.write(&run, "end")
}
