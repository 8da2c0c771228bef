//! The state of the whole cluster, for people.

use hatchery_protocol::control::{ChildState, ClusterState};
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use super::cluster::{Course, Supervisor};
use super::seat::Phase;

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the cluster as a whole is doing.
    pub state: ClusterState,
    /// The generation that is adopted: the one that replacements belong to.
    pub generation: Generation,
    /// Every seat, the agent's first, then by slot.
    pub seats: Vec<SeatReport>,
}

/// One seat at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatReport {
    /// Which.
    pub seat: Seat,
    /// The process in it.
    pub child: Option<ChildId>,
    /// Its process id.
    pub pid: Option<u32>,
    /// What it is doing.
    pub state: ChildState,
    /// How many times the seat was filled again.
    pub restarts: u64,
    /// Why the previous process ended.
    pub last_exit: Option<String>,
    /// The same in one word.
    pub last_exit_kind: Option<ExitKind>,
    /// The generation of the process, or the one that the next process is going to belong to.
    pub generation: Generation,
}

impl Supervisor {
    /// What is, without changing it.
    pub fn report(&self) -> Report {
        let state = match self.course {
            Course::Idle | Course::Starting { .. } => ClusterState::Starting,
            Course::Serving if self.reload.is_some() => ClusterState::Reloading,
            Course::Serving if !self.places.looping.is_empty() => ClusterState::Degraded,
            Course::Serving => ClusterState::Ready,
            Course::Announced { .. } | Course::Stopping { .. } | Course::Finished => {
                ClusterState::Stopping
            }
        };
        let seats = self.places.iter().map(|place| {
            // Of a slot that is given up, whoever still finishes there.
            let occupant = place.occupant.as_ref().or(place.leavers.first());
            SeatReport {
                seat: place.seat,
                child: occupant.map(|o| o.id),
                pid: occupant.and_then(|o| o.pid),
                state: occupant.map_or(ChildState::Waiting, |o| match o.phase {
                    Phase::Spawning => ChildState::Spawning,
                    Phase::Booting { .. } => ChildState::Booting,
                    Phase::Ready { .. } => ChildState::Ready,
                    Phase::Draining { .. } => ChildState::Draining,
                    Phase::Killed => ChildState::Killed,
                }),
                restarts: place.spawns.saturating_sub(1),
                last_exit: place.last_exit.as_ref().map(|(_, cause)| cause.clone()),
                last_exit_kind: place.last_exit.as_ref().map(|(kind, _)| *kind),
                generation: occupant.map_or(self.adopted, |o| o.generation),
            }
        });
        Report {
            state,
            generation: self.adopted,
            seats: seats.collect(),
        }
    }
}
