//! The lifecycle as data: every step has a name.
//!
//! One record is one line of `--events FILE`, one message of the control socket's event stream and one
//! line in the log. Tests and operators wait for these instead of sleeping.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::ExitKind;
use crate::id::{Generation, Role, Slot};

/// A step in the life of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    /// The master holds its lock and its addresses.
    MasterStarted,
    /// The agent's process runs.
    AgentSpawned,
    /// `Agent::start` returned.
    AgentReady,
    /// A worker's process runs.
    WorkerSpawned,
    /// `Worker::start` returned.
    WorkerReady,
    /// Every process is ready and every address listens. Once in a master's life.
    EggReady,
    /// A worker's process is gone.
    WorkerExited,
    /// The agent's process is gone.
    AgentExited,
    /// A slot has a ready worker again.
    WorkerReplaced,
    /// A stop began; `reason` tells why.
    Stopping,
    /// A process was told to finish its work and leave.
    Draining,
    /// Everything is gone; the last event.
    Stopped,
    /// A reload began; `reason` tells who asked. Its generation is the one that is tried.
    ReloadStarted,
    /// Every worker is of the new generation, and no older process is left.
    ReloadFinished,
    /// A reload was given up, and no process of its generation is left; `reason` tells why.
    ReloadFailed,
    /// A new master was asked for; `reason` tells who asked.
    UpgradeStarted,
    /// The new master serves; this one leaves.
    UpgradeFinished,
    /// The new master is gone, this one serves on; `reason` tells why.
    UpgradeFailed,
    /// The number of workers to keep has changed; `reason` tells to which.
    Scaled,
    /// A worker is going to be replaced by a fresh one; `reason` tells why.
    Recycling,
    /// A process does not answer; it is asked for a diagnosis and then killed.
    Hung,
    /// The agent was told to stop what may run only once, because another one is ready to.
    StandingDown,
    /// A seat is in a crash loop: its processes die again and again.
    Degraded,
    /// A seat is out of its crash loop.
    Recovered,
}

impl EventName {
    /// The name as it is written, `kebab-case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MasterStarted => "master-started",
            Self::AgentSpawned => "agent-spawned",
            Self::AgentReady => "agent-ready",
            Self::WorkerSpawned => "worker-spawned",
            Self::WorkerReady => "worker-ready",
            Self::EggReady => "egg-ready",
            Self::WorkerExited => "worker-exited",
            Self::AgentExited => "agent-exited",
            Self::WorkerReplaced => "worker-replaced",
            Self::Stopping => "stopping",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::ReloadStarted => "reload-started",
            Self::ReloadFinished => "reload-finished",
            Self::ReloadFailed => "reload-failed",
            Self::UpgradeStarted => "upgrade-started",
            Self::UpgradeFinished => "upgrade-finished",
            Self::UpgradeFailed => "upgrade-failed",
            Self::Scaled => "scaled",
            Self::Recycling => "recycling",
            Self::Hung => "hung",
            Self::StandingDown => "standing-down",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step, with who and why.
///
/// ```
/// use hatchery_protocol::event::EventRecord;
///
/// let line = r#"{"ts_ms":5120,"event":"worker-ready","role":"worker","slot":1,"pid":77,"generation":1,"reason":null}"#;
/// let record: EventRecord = serde_json::from_str(line).unwrap();
/// assert_eq!(record.slot, Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Milliseconds on the host's monotonic clock (`CLOCK_MONOTONIC`): comparable between processes.
    pub ts_ms: u64,
    /// What happened.
    pub event: EventName,
    /// To whom.
    pub role: Role,
    /// The worker's slot, for a worker.
    pub slot: Option<Slot>,
    /// The process, where there is one.
    pub pid: Option<u32>,
    /// The generation it belongs to.
    pub generation: Generation,
    /// Why, where there is a why: a death's cause, a stop's origin, the addresses served.
    pub reason: Option<String>,
    /// How a process ended; only with `worker-exited` and `agent-exited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_shown() {
        for event in [
            EventName::MasterStarted,
            EventName::AgentSpawned,
            EventName::AgentReady,
            EventName::WorkerSpawned,
            EventName::WorkerReady,
            EventName::EggReady,
            EventName::WorkerExited,
            EventName::AgentExited,
            EventName::WorkerReplaced,
            EventName::Stopping,
            EventName::Draining,
            EventName::Stopped,
            EventName::ReloadStarted,
            EventName::ReloadFinished,
            EventName::ReloadFailed,
            EventName::UpgradeStarted,
            EventName::UpgradeFinished,
            EventName::UpgradeFailed,
            EventName::Scaled,
            EventName::Recycling,
            EventName::Hung,
            EventName::StandingDown,
            EventName::Degraded,
            EventName::Recovered,
        ] {
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(json, format!("\"{event}\""));
        }
    }
}
