//! What travels between followers and the agent, in JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Refusal;

/// Where the agent listens.
pub const TOPIC: &str = "hatchery/leaders";

/// A question to a leader.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub leader: String,
    /// When the deadline is over, on [the clock](crate::clock::monotonic) that all processes of a host share.
    pub until_ms: u64,
    /// What is wanted.
    pub wish: Wish,
}

/// What a follower wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// The key's value, as soon as it is another one than was seen.
    Follow {
        /// The key.
        key: String,
        /// The last version that came.
        seen: Option<Version>,
    },
    /// The key is to have this value, wherever it comes from.
    Publish {
        /// The key.
        key: String,
        /// The value.
        value: Box<RawValue>,
    },
    /// A call.
    Invoke {
        /// What is called.
        method: String,
        /// With what.
        argument: Box<RawValue>,
    },
}

/// Names one value of a key: when its leader began, and how many there were since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(pub u64, pub u64);

/// What a leader says.
pub type Answer = Result<Said, Refusal>;

/// What a leader says, if it does not refuse.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// The key's value.
    Value(Version, Box<RawValue>),
    /// It is still the same.
    Unchanged,
    /// It was published.
    Published,
    /// What the call returned.
    Returned(Box<RawValue>),
}
