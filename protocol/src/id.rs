//! Who is who.
//!
//! A process is never identified by its pid: pids are reused. The master knows a child by the seat it
//! holds (the agent's, or a worker's slot) and by the *incarnation*, a number that is given out once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a process is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Binds, starts, watches, replaces and stops everything else. Runs no user code.
    Master,
    /// The master's secretary: user code that must exist once per host.
    Agent,
    /// Serves requests.
    Worker,
}

impl Role {
    /// The role's lower-case name, as in logs, events and `HATCHERY_CHILD_ROLE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Agent => "agent",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stable number of a worker, `0..N-1`. A replacement keeps its predecessor's slot.
pub type Slot = u32;

/// Which build and configuration of the application a process runs. Counts from 1, grows with each reload.
pub type Generation = u64;

/// A place in the cluster that one ready process holds at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seat {
    /// The agent's place.
    Agent,
    /// A worker's place, by slot.
    Worker(Slot),
}

impl Seat {
    /// The role of whoever sits here.
    pub const fn role(self) -> Role {
        match self {
            Self::Agent => Role::Agent,
            Self::Worker(_) => Role::Worker,
        }
    }

    /// The slot, for a worker.
    pub const fn slot(self) -> Option<Slot> {
        match self {
            Self::Agent => None,
            Self::Worker(slot) => Some(slot),
        }
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Worker(slot) => write!(f, "worker {slot}"),
        }
    }
}

/// One process of the master's, for ever: a seat and a number that is never given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildId {
    /// The place the process was started for.
    pub seat: Seat,
    /// Unique among all processes this master ever started. Counts from 1.
    pub incarnation: u64,
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.seat, self.incarnation)
    }
}
