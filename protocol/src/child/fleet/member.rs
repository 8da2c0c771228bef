//! Who belongs to a fleet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An agent's process, by a number that no other one has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberId(#[doc(hidden)] pub String);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One cluster of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMember {
    /// Its agent.
    pub id: MemberId,
    /// The name of its host.
    pub host: String,
    /// Its agent's process id there.
    pub pid: u32,
    /// How many of its workers are ready.
    pub workers: u32,
    /// The application's own version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
