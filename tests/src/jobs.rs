//! What the playground's jobs write, and what status says of their schedules.

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

/// Each run of a schedule began once.
#[track_caller]
pub fn assert_no_repetition(lines: &[Line]) {
    let mut numbers: Vec<_> = lines.iter().map(|l| (&l.schedule, l.number)).collect();
    let all = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "{lines:#?}");
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
