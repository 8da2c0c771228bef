//! What the master needs to know: values only, checked where they are parsed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hatchery_protocol::boot::{HttpLimits, LogFormat, OnMasterDeath};
use thiserror::Error;

use crate::listener::Listen;

/// Everything that steers a cluster. Where the values come from (file, environment, flags) is the
/// caller's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The application's name: names the runtime directory and stands in logs.
    pub name: String,
    /// Where the control socket and the lock are, see [`default_runtime_dir`](crate::default_runtime_dir).
    pub runtime_dir: PathBuf,
    /// How many workers to keep; at least 1.
    pub workers: u32,
    /// Threads of each worker's runtime; at least 1.
    pub threads: u32,
    /// The addresses to serve; at least one.
    pub listen: Vec<Listen>,
    /// How connections are shared among workers where an address does not say otherwise.
    pub strategy: Strategy,
    /// How long `Agent::start` may take.
    pub agent_start_timeout: Duration,
    /// How long `Worker::start` may take.
    pub worker_start_timeout: Duration,
    /// How long a stop may take before what is left is cut off.
    pub drain_timeout: Duration,
    /// How long a draining worker keeps answering on open connections, asking clients to leave.
    pub lame_duck: Duration,
    /// How long children may go on without their master.
    pub orphan_grace: Duration,
    /// How long the master may be silent before its children count it as lost; at least 2 s.
    pub master_timeout: Duration,
    /// What a client may take of a worker.
    pub http: HttpLimits,
    /// What children do when their master dies.
    pub on_master_death: OnMasterDeath,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the filter syntax of `--log-level`; handed to the children.
    pub log_level: String,
    /// Where to append lifecycle events, one JSON object a line.
    pub events: Option<PathBuf>,
    /// Where to write the master's process id.
    pub pid_file: Option<PathBuf>,
}

/// How connections are shared among workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Every worker accepts from the one socket that the master owns.
    #[default]
    Shared,
}

impl Strategy {
    /// The name as in `--strategy` and in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
        }
    }

    /// What there is to choose from, for messages.
    pub(crate) fn names() -> String {
        "shared (or none)".to_owned()
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A strategy's name that is none.
#[derive(Debug, Error)]
#[error("`{0}` is not a strategy; known are: {known}", known = Strategy::names())]
pub struct UnknownStrategy(String);

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    /// Takes Node's name, too: `none`, as in `NODE_CLUSTER_SCHED_POLICY`.
    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        match text {
            "shared" | "none" => Ok(Self::Shared),
            _ => Err(UnknownStrategy(text.to_owned())),
        }
    }
}
