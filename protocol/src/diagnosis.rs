//! What a process tells about itself when its master believes that it hangs.
//!
//! The watch thread tells it, so it is to be had while the runtime stands still. A process that is stopped as
//! a whole tells nothing; what the kernel knows about it the master finds out by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::as_millis;

/// How many requests a diagnosis names. There may be thousands; the longest tell what is the matter.
pub const MOST_REQUESTS: usize = 32;

/// A process, as it sees itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Time since a task last ran on the runtime.
    #[serde(with = "as_millis", rename = "runtime_age_ms")]
    pub runtime_age: Duration,
    /// By how much a timer of one second was late when it last fired.
    #[serde(with = "as_millis", rename = "lag_ms")]
    pub lag: Duration,
    /// The author's hook that is running, as `Agent::egg_ready`.
    pub hook: Option<String>,
    /// Open connections.
    pub connections: u64,
    /// Requests whose response has not been sent whole.
    pub in_flight: u64,
    /// Some of them, the longest first.
    pub requests: Vec<RequestInFlight>,
}

/// A request that is being answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestInFlight {
    /// Its method.
    pub method: String,
    /// Its path, cut where it is very long. Without the query, in which there may be secrets.
    pub path: String,
    /// Since when, give or take ten milliseconds.
    #[serde(with = "as_millis", rename = "age_ms")]
    pub age: Duration,
}
