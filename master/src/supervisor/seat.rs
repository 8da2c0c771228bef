//! One place in the cluster, its history and the processes that hold it.

use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Generation, Seat};

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

/// Whether an agent still does what may be done only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It does, or will once it is told egg-ready.
    Kept,
    /// It was asked to stop.
    Leaving {
        /// When it is killed for being too slow.
        deadline: Now,
    },
    /// It has stopped, for good.
    Left,
}

/// A process that holds a seat, is going to, or did.
#[derive(Debug, Clone)]
pub(super) struct Occupant {
    pub(super) id: ChildId,
    pub(super) generation: Generation,
    pub(super) pid: Option<u32>,
    pub(super) phase: Phase,
    /// Whether it came as far as its `start`.
    pub(super) said_hello: bool,
    /// Since when it was ready, if it ever was. Outlives the phase, for the backoff.
    pub(super) ready_since: Option<Now>,
    /// Why it is about to be gone, when the master knows before the exit status tells.
    pub(super) cause: Option<String>,
    /// The same in one word.
    pub(super) fate: Option<ExitKind>,
    /// Whether it was told that everybody is ready.
    pub(super) hatched: bool,
    /// Whether it was told that a stop is to come.
    pub(super) forewarned: bool,
    pub(super) duty: Duty,
    /// When its process last answered.
    pub(super) heard: Now,
    /// When its runtime was last known to do something.
    pub(super) alive: Now,
    /// It was silent for too long and is killed then.
    pub(super) doomed: Option<Now>,
    /// What it was found to be doing then.
    pub(super) diagnosis: Option<String>,
    /// Why it is to be replaced by a fresh one, if it is.
    pub(super) worn: Option<String>,
}

impl Occupant {
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// Whether it is on its way to being ready.
    pub(super) const fn is_booting(&self) -> bool {
        matches!(self.phase, Phase::Spawning | Phase::Booting { .. })
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

    /// When it is to be diagnosed, or killed if it was, for having been silent for so long.
    pub(super) fn hangs_at(&self, timeout: Now) -> Option<Now> {
        let silent = self.alive + timeout;
        // A reload may have brought more patience since.
        let at = self.doomed.map_or(silent, |doomed| doomed.max(silent));
        (!timeout.is_zero() && self.is_ready()).then_some(at)
    }

    /// It does not hang any more, so what it was found to be doing is of no interest.
    pub(super) fn acquit(&mut self) {
        self.doomed = None;
        self.diagnosis = None;
    }

    /// Whether it may be doing what may be done only once.
    pub(super) fn is_on_duty(&self) -> bool {
        self.hatched && self.duty != Duty::Left
    }
}

/// A place and everything the master remembers about it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) seat: Seat,
    /// Who holds it: at work, or as near to it as anybody here.
    pub(super) occupant: Option<Occupant>,
    /// Who is going to hold it, as soon as it is ready.
    pub(super) successor: Option<Occupant>,
    /// Who held it and finishes.
    pub(super) leavers: Vec<Occupant>,
    /// Whether the seat is given up: nobody is to hold it.
    pub(super) retired: bool,
    /// Deaths in a row, none of them of a stable process.
    pub(super) deaths: u32,
    /// Whether there were so many that it was made known.
    pub(super) looping: bool,
    /// How many processes were created for this seat.
    pub(super) spawns: u64,
    /// Not before then is a process created for it again.
    pub(super) vacant_until: Now,
    pub(super) last_exit: Option<(ExitKind, String)>,
}

/// Where in a place a process was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Occupant,
    Successor,
    Leaver,
}

impl Place {
    pub(super) const fn new(seat: Seat) -> Self {
        Self {
            seat,
            occupant: None,
            successor: None,
            leavers: Vec::new(),
            retired: false,
            deaths: 0,
            looping: false,
            spawns: 0,
            vacant_until: Now::ZERO,
            last_exit: None,
        }
    }

    /// A new process for this seat, as its occupant if there is none, else as its successor.
    pub(super) fn admit(&mut self, incarnation: u64, generation: Generation) -> ChildId {
        let newcomer = self.newcomer(incarnation, generation);
        let id = newcomer.id;
        if self.occupant.is_none() {
            self.occupant = Some(newcomer);
        } else {
            self.successor = Some(newcomer);
        }
        id
    }

    /// A new process that becomes the occupant when it is told to, and not before.
    pub(super) fn admit_successor(&mut self, incarnation: u64, generation: Generation) -> ChildId {
        let newcomer = self.newcomer(incarnation, generation);
        let id = newcomer.id;
        self.successor = Some(newcomer);
        id
    }

    const fn newcomer(&mut self, incarnation: u64, generation: Generation) -> Occupant {
        self.spawns += 1;
        Occupant {
            id: ChildId {
                seat: self.seat,
                incarnation,
            },
            generation,
            pid: None,
            phase: Phase::Spawning,
            said_hello: false,
            ready_since: None,
            cause: None,
            fate: None,
            hatched: false,
            forewarned: false,
            duty: Duty::Kept,
            heard: Now::ZERO,
            alive: Now::ZERO,
            doomed: None,
            diagnosis: None,
            worn: None,
        }
    }

    /// Everybody here: who holds the seat, who is going to, who did.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Occupant> {
        let current = self.occupant.iter().chain(&self.successor);
        current.chain(&self.leavers)
    }

    pub(super) fn processes_mut(&mut self) -> impl Iterator<Item = &mut Occupant> {
        let current = self.occupant.iter_mut().chain(&mut self.successor);
        current.chain(&mut self.leavers)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.processes().next().is_none()
    }

    /// The occupant is to leave; its successor, if there is one, holds the seat from now on.
    pub(super) fn dismiss_occupant(&mut self, fate: ExitKind, cause: impl FnOnce() -> String) {
        if let Some(gone) = self.occupant.take() {
            self.leavers.push(dismissed(gone, fate, cause()));
        }
        self.occupant = self.successor.take();
    }

    pub(super) fn dismiss_successor(&mut self, fate: ExitKind, cause: impl FnOnce() -> String) {
        if let Some(gone) = self.successor.take() {
            self.leavers.push(dismissed(gone, fate, cause()));
        }
    }

    /// Takes a process out that is gone.
    pub(super) fn remove(&mut self, child: ChildId) -> Option<(Occupant, Position)> {
        let is_it = |o: &Occupant| o.id == child;
        if self.occupant.as_ref().is_some_and(is_it) {
            return Some((self.occupant.take()?, Position::Occupant));
        }
        if self.successor.as_ref().is_some_and(is_it) {
            return Some((self.successor.take()?, Position::Successor));
        }
        let index = self.leavers.iter().position(is_it)?;
        Some((self.leavers.remove(index), Position::Leaver))
    }

    /// Counts a death here and decides when the next process may be created.
    pub(super) fn mourn(&mut self, now: Now, gone: &Occupant, backoff: &Backoff) {
        let stable = gone
            .ready_since
            .is_some_and(|since| now.saturating_sub(since) >= backoff.stable);
        self.deaths = if stable { 1 } else { self.deaths + 1 };
        self.vacant_until = now + backoff.delay(self.deaths, gone.id.incarnation);
    }

    /// When this seat has been well for long enough to be out of its crash loop.
    pub(super) fn recovers_at(&self, stable: Now) -> Option<Now> {
        let occupant = self.occupant.as_ref().filter(|o| o.is_ready())?;
        let since = occupant.ready_since.filter(|_| self.looping)?;
        Some(since + stable)
    }

    /// The process here that its peers see: that of the occupant, once it is ready.
    pub(super) fn member(&self) -> Option<u32> {
        self.occupant.as_ref().filter(|o| o.is_ready())?.pid
    }
}

/// Whoever knew of a better reason before keeps it.
fn dismissed(mut gone: Occupant, fate: ExitKind, cause: String) -> Occupant {
    gone.fate.get_or_insert(fate);
    gone.cause.get_or_insert(cause);
    gone
}
