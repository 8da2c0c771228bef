//! What the playground's jobs write, and what status says of their schedules.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::plan::Plan;
use crate::trace;

/// A line that a job has written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// Whose run it is.
    pub schedule: String,
    /// Which run.
    pub number: u64,
    /// Which try.
    pub attempt: u32,
    /// `begin` or `end`.
    pub step: String,
    /// The worker's slot; none in the agent.
    pub slot: Option<u32>,
    /// The process.
    pub pid: u32,
    /// For when it was planned.
    pub due_ms: u64,
}

/// All that jobs have written.
pub fn lines(cluster: &Cluster) -> Vec<Line> {
    trace::read(&cluster.plan().path("jobs"))
}

/// The runs that have begun.
pub fn begun(cluster: &Cluster) -> Vec<Line> {
    let mut lines = lines(cluster);
    lines.retain(|line| line.step == "begin");
    lines
}

/// Waits until so many runs have begun, and returns them.
#[track_caller]
pub fn wait_begun(cluster: &Cluster, count: usize) -> Vec<Line> {
    cluster.expect("runs begin", || begun(cluster).len() >= count);
    begun(cluster)
}

/// What status says of a schedule; nothing until its agent has told.
pub fn schedule(cluster: &Cluster, name: &str) -> Value {
    let status = cluster.status();
    let mut schedules = status["schedules"].as_array().unwrap().iter();
    let found = schedules.find(|schedule| schedule["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits for the last run to have ended so.
#[track_caller]
pub fn expect_outcome(cluster: &Cluster, name: &str, outcome: &str) -> Value {
    cluster.expect(&format!("a run of {name} is {outcome}"), || {
        schedule(cluster, name)["history"][0]["outcome"] == outcome
    });
    schedule(cluster, name)["history"][0].clone()
}

/// Each run of a schedule began once, and no two of them were for one time.
#[track_caller]
pub fn assert_no_repetition(lines: &[Line]) {
    assert_distinct(lines, |line| line.number);
    assert_distinct(lines, |line| line.due_ms);
}

#[track_caller]
fn assert_distinct(lines: &[Line], of: impl Fn(&Line) -> u64) {
    let all: BTreeSet<_> = lines.iter().map(|l| (&l.schedule, of(l))).collect();
    assert_eq!(all.len(), lines.len(), "{lines:#?}");
}

/// What became of each second, of a schedule whose pattern is `* * * * * *`.
///
/// From its first run to the one that is next, each second was run, missed or skipped, none of them twice. What counts as run
/// has begun, or its outcome says why not. Ends by switching the schedule off.
#[track_caller]
pub fn assert_each_second_counted(cluster: &Cluster, name: &str) {
    let ran = cluster.verb(&["schedule", "disable", name]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    cluster.expect("nothing of it goes on", || {
        schedule(cluster, name)["running"] == Value::Array(Vec::new())
    });
    let status = schedule(cluster, name);
    let mut begun = begun(cluster);
    begun.retain(|line| line.schedule == name);
    assert_no_repetition(&begun);
    let number = |key: &str| status[key].as_u64().unwrap();
    let first = begun.iter().find(|line| line.number == 1).unwrap();
    let passed = (number("next_ms") - first.due_ms) / 1000;
    let counted = number("runs") + number("missed") + number("skipped");
    assert_eq!(passed, counted, "seconds: {status:#} {begun:#?}");
    // Of the last ones it is known how they ended.
    for past in status["history"].as_array().unwrap() {
        let has_begun = begun.iter().any(|line| past["number"] == line.number);
        let has_failed = past["outcome"] != "succeeded";
        assert!(
            has_begun || has_failed,
            "{past} is lost: {status:#} {begun:#?}"
        );
    }
}

impl Plan {
    /// Two workers, an agent with these schedules, and jobs that write what they do.
    #[must_use]
    pub fn schedules(self, schedules: &str) -> Self {
        let (jobs, gates) = (self.path("jobs"), gates(&self));
        fs::create_dir_all(&gates).unwrap();
        self.workers(2)
            .env("PLAYGROUND_SCHEDULES", schedules)
            .env("PLAYGROUND_JOBS", jobs)
            .env("PLAYGROUND_GATES", gates)
    }
}

fn gates(plan: &Plan) -> PathBuf {
    plan.path("gates")
}

/// Lets every job `gated` of this schedule end, those to come included.
pub fn open_gate(cluster: &Cluster, schedule: &str) {
    File::create(gates(cluster.plan()).join(schedule)).unwrap();
}
