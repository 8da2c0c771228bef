//! One place in the cluster, its history and the process that holds it.

use hatchery_protocol::id::{ChildId, Seat};
use hatchery_protocol::message::Member;

use super::event::Now;
use super::policy::Backoff;

/// What a process is doing, as far as the master is concerned, and until when it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being created.
    Spawning,
    /// In its `start`.
    Booting {
        /// When it is killed for being too slow.
        deadline: Now,
    },
    /// At work.
    Ready {
        /// Since when.
        since: Now,
    },
    /// Finishing.
    Draining {
        /// When it is killed for being too slow.
        deadline: Now,
    },
    /// Killed, not gone yet.
    Killed,
}

/// The process in a seat.
#[derive(Debug, Clone)]
pub(super) struct Occupant {
    pub(super) id: ChildId,
    pub(super) pid: Option<u32>,
    pub(super) phase: Phase,
    /// Since when it was ready, if it ever was. Outlives the phase, for the backoff.
    pub(super) ready_since: Option<Now>,
    /// Why it is about to be gone, when the master knows before the exit status tells.
    pub(super) cause: Option<String>,
    /// Whether it was told that everybody is ready.
    pub(super) hatched: bool,
    /// Whether it was told that a stop is to come.
    pub(super) forewarned: bool,
}

impl Occupant {
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// Whether it can still be told something that matters to it.
    pub(super) const fn listens(&self) -> bool {
        !matches!(self.phase, Phase::Draining { .. } | Phase::Killed)
    }

    pub(super) const fn deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Booting { deadline } | Phase::Draining { deadline } => Some(deadline),
            Phase::Spawning | Phase::Ready { .. } | Phase::Killed => None,
        }
    }
}

/// A place and everything the master remembers about it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) seat: Seat,
    pub(super) occupant: Option<Occupant>,
    /// Deaths in a row, none of them of a stable process.
    pub(super) deaths: u32,
    /// How many processes were created for this seat.
    pub(super) spawns: u64,
    /// Not before then is the seat filled again.
    pub(super) vacant_until: Now,
    pub(super) last_exit: Option<String>,
}

impl Place {
    pub(super) const fn new(seat: Seat) -> Self {
        Self {
            seat,
            occupant: None,
            deaths: 0,
            spawns: 0,
            vacant_until: Now::ZERO,
            last_exit: None,
        }
    }

    pub(super) fn occupy(&mut self, incarnation: u64) -> ChildId {
        let id = ChildId {
            seat: self.seat,
            incarnation,
        };
        self.spawns += 1;
        self.occupant = Some(Occupant {
            id,
            pid: None,
            phase: Phase::Spawning,
            ready_since: None,
            cause: None,
            hatched: false,
            forewarned: false,
        });
        id
    }

    /// Empties the seat and decides when it may be filled again.
    pub(super) fn vacate(&mut self, now: Now, backoff: &Backoff) -> Option<Occupant> {
        let gone = self.occupant.take()?;
        let stable = gone
            .ready_since
            .is_some_and(|since| now.saturating_sub(since) >= backoff.stable);
        self.deaths = if stable { 1 } else { self.deaths + 1 };
        self.vacant_until = now + backoff.delay(self.deaths, gone.id.incarnation);
        Some(gone)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.occupant.as_ref().is_some_and(Occupant::is_ready)
    }

    /// Whether deaths follow each other here.
    pub(super) fn in_crash_loop(&self, now: Now, backoff: &Backoff) -> bool {
        let recovered = self
            .occupant
            .as_ref()
            .filter(|occupant| occupant.is_ready())
            .and_then(|occupant| occupant.ready_since)
            .is_some_and(|since| now.saturating_sub(since) >= backoff.stable);
        self.deaths >= backoff.crash_loop && !recovered
    }

    /// The worker here as its peers see it, once it is ready.
    pub(super) fn member(&self) -> Option<Member> {
        let occupant = self.occupant.as_ref().filter(|o| o.is_ready())?;
        Some(Member {
            slot: self.seat.slot()?,
            pid: occupant.pid?,
        })
    }
}
