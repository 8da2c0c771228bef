//! What travels between whoever uses the state and the agent that holds it, in JSON.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Rejection;

/// Where the agent listens.
pub const TOPIC: &str = "hatchery/state";

/// Names a state from its empty beginning to its end. No two of a host are the same as long as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// One operation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The key; of no matter for [`Operation::Epoch`].
    pub key: String,
    /// What is to be done.
    pub operation: Operation,
    /// When the value is to expire, from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_ms: Option<u64>,
    /// The only state that this is meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// When the deadline is over, on [the clock](crate::clock::monotonic) that all processes of a host share.
    pub until_ms: u64,
}

/// What is to be done with a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Nothing.
    Epoch,
    /// Its value is wanted.
    Get,
    /// It gets this value.
    Set(Box<RawValue>),
    /// So much is added.
    Add(i64),
    /// It gets a value if it has another one.
    CompareAndSet {
        /// What it has to have.
        expected: Option<Box<RawValue>>,
        /// What it gets.
        new: Option<Box<RawValue>>,
    },
    /// It loses its value.
    Remove,
}

/// What came of an operation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Which state it was done in.
    pub epoch: Epoch,
    /// What came of it.
    pub outcome: Result<Done, Rejection>,
}

/// An operation was done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Something has changed.
    Yes,
    /// Nothing had to be changed.
    No,
    /// A counter is this now.
    Number(i64),
    /// The value of the key; to a comparison, it is not the one that was expected.
    Value(Option<Box<RawValue>>),
}
