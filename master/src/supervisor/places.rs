//! All seats, and lists of those that something is to be done about.
//!
//! A cluster may have ten thousand seats and a beat from each of them every second, so nothing here looks
//! at all of them because of one. Whoever wants to change a seat gets it from [`Places::edit`], which
//! notes it; [`Places::settle`] files the noted ones again: under when they are due, whether they wait
//! for a process, how many boot. What a seat is filed under depends on the seat and on an [`Outlook`]
//! that is the same for all, and nothing else; when the outlook changes, all are filed again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{Generation, Seat, Slot};

use super::event::Now;
use super::policy::Policy;
use super::seat::{Duty, Occupant, Phase, Place};

/// What holds for all seats at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outlook {
    /// Whether failures are healed.
    pub(super) serving: bool,
    /// Whether processes are told that a stop is to come.
    pub(super) announced: bool,
    /// Whether everybody is to leave: whether at once, and whether not before all addresses are given up.
    pub(super) stopping: Option<(bool, bool)>,
    /// The generation that replacements belong to.
    pub(super) adopted: Generation,
    pub(super) trend: Trend,
    pub(super) worker_timeout: Duration,
    pub(super) stable: Duration,
}

/// Which generation the seats are moving to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Trend {
    /// None.
    #[default]
    Still,
    /// To this one.
    To {
        generation: Generation,
        /// Whether one of it was ready already.
        proven: bool,
    },
    /// Away from this one, back to the adopted one.
    Back { generation: Generation },
    /// The adopted one is the new one; those before it leave.
    Arrived { agent: bool },
}

/// What one seat counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    due: Option<Now>,
    vacant: Option<Now>,
    outdated: Option<Now>,
    worn: Option<Now>,
    retired: bool,
    unready: bool,
    looping: bool,
    member: Option<u32>,
    tally: Tally,
}

/// Numbers that are summed up over seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Processes of workers.
    pub(super) workers: usize,
    /// Workers on their way to being ready.
    pub(super) booting: usize,
    /// Workers that wait to take over a seat.
    pub(super) successors: usize,
    /// Workers of the generation that is tried that were not ready yet.
    pub(super) novices: usize,
    /// Workers that finish because they were recycled.
    pub(super) recycled: usize,
    /// Processes of a generation that is to disappear.
    pub(super) stale: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    seats: BTreeMap<Seat, Place>,
    entries: BTreeMap<Seat, Entry>,
    outlook: Outlook,
    /// Changed since they were filed.
    noted: BTreeSet<Seat>,
    /// Changed since the last [`Places::rest`].
    fresh: BTreeSet<Seat>,
    due: BTreeSet<(Now, Seat)>,
    /// Workers' seats that nobody holds, by when they may be filled.
    pub(super) vacant: BTreeSet<(Now, Seat)>,
    /// Workers' seats that a process of another generation is to hold, by when it may be created.
    pub(super) outdated: BTreeSet<(Now, Seat)>,
    /// Workers' seats whose process is to be replaced by a fresh one, by when it may be created.
    pub(super) worn: BTreeSet<(Now, Seat)>,
    pub(super) retired: BTreeSet<Seat>,
    unready: BTreeSet<Seat>,
    pub(super) looping: BTreeSet<Seat>,
    /// The process of each slot that has a ready one.
    pub(super) members: BTreeMap<Slot, u32>,
    /// The same for the slots in which that is new, or nobody any more.
    pub(super) changed: BTreeMap<Slot, Option<u32>>,
    pub(super) tally: Tally,
}

impl Places {
    pub(super) fn get(&self, seat: Seat) -> Option<&Place> {
        self.seats.get(&seat)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.seats.values()
    }

    /// A seat, to change it.
    pub(super) fn edit(&mut self, seat: Seat) -> Option<&mut Place> {
        let place = self.seats.get_mut(&seat)?;
        self.noted.insert(seat);
        Some(place)
    }

    /// A seat that is wanted, and was perhaps not there or given up.
    pub(super) fn want(&mut self, seat: Seat) {
        let place = self.seats.entry(seat).or_insert_with(|| Place::new(seat));
        if place.retired {
            // What became of it before it was given up is forgotten.
            place.retired = false;
            place.looping = false;
            place.deaths = 0;
            place.vacant_until = Now::ZERO;
        }
        self.noted.insert(seat);
    }

    /// Forgets a seat.
    pub(super) fn remove(&mut self, seat: Seat) {
        self.seats.remove(&seat);
        self.noted.insert(seat);
    }

    /// Notes everybody whose time has come.
    pub(super) fn wake(&mut self, now: Now) {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        self.noted.extend(due.map(|(_, seat)| *seat));
    }

    /// The seats that changed in this turn, in order.
    pub(super) fn fresh(&self) -> Vec<Seat> {
        self.fresh.iter().copied().collect()
    }

    /// The turn is over.
    pub(super) fn rest(&mut self) {
        self.fresh.clear();
    }

    pub(super) fn next_due(&self) -> Option<Now> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether every worker's seat is held by somebody who is ready.
    pub(super) fn workers_are_ready(&self) -> bool {
        self.unready.is_empty()
    }

    /// Files the noted seats anew.
    pub(super) fn settle(&mut self, outlook: Outlook, policy: &Policy) {
        if self.outlook != outlook {
            self.outlook = outlook;
            self.noted.extend(self.seats.keys());
        }
        for seat in std::mem::take(&mut self.noted) {
            let place = self.seats.get(&seat);
            let entry = place.map(|p| file(p, &outlook, policy)).unwrap_or_default();
            let before = self.entries.insert(seat, entry).unwrap_or_default();
            if place.is_none() {
                self.entries.remove(&seat);
            }
            self.fresh.insert(seat);
            if before != entry {
                self.refile(seat, &before, &entry);
            }
        }
    }

    fn refile(&mut self, seat: Seat, before: &Entry, after: &Entry) {
        let moved = |set: &mut BTreeSet<(Now, Seat)>, before: Option<Now>, after: Option<Now>| {
            if before != after {
                before.map(|at| set.remove(&(at, seat)));
                after.map(|at| set.insert((at, seat)));
            }
        };
        moved(&mut self.due, before.due, after.due);
        moved(&mut self.vacant, before.vacant, after.vacant);
        moved(&mut self.outdated, before.outdated, after.outdated);
        moved(&mut self.worn, before.worn, after.worn);
        let marked = |set: &mut BTreeSet<Seat>, after: bool| {
            if after {
                set.insert(seat);
            } else {
                set.remove(&seat);
            }
        };
        marked(&mut self.retired, after.retired);
        marked(&mut self.unready, after.unready);
        marked(&mut self.looping, after.looping);
        if let (Some(slot), true) = (seat.slot(), before.member != after.member) {
            self.changed.insert(slot, after.member);
            match after.member {
                Some(pid) => drop(self.members.insert(slot, pid)),
                None => drop(self.members.remove(&slot)),
            }
        }
        self.tally = self.tally.minus(before.tally).plus(after.tally);
    }
}

impl Tally {
    const fn plus(self, other: Self) -> Self {
        Self {
            workers: self.workers + other.workers,
            booting: self.booting + other.booting,
            successors: self.successors + other.successors,
            novices: self.novices + other.novices,
            recycled: self.recycled + other.recycled,
            stale: self.stale + other.stale,
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            workers: self.workers - other.workers,
            booting: self.booting - other.booting,
            successors: self.successors - other.successors,
            novices: self.novices - other.novices,
            recycled: self.recycled - other.recycled,
            stale: self.stale - other.stale,
        }
    }
}

/// What a seat counts for.
fn file(place: &Place, outlook: &Outlook, policy: &Policy) -> Entry {
    let common = Entry {
        due: due(place, outlook, policy),
        looping: place.looping && !place.retired,
        tally: Tally {
            stale: place
                .processes()
                .filter(|p| is_stale(p, outlook.trend, outlook.adopted))
                .count(),
            ..Tally::default()
        },
        ..Entry::default()
    };
    if place.seat == Seat::Agent {
        return common;
    }
    let tried = match outlook.trend {
        Trend::To { generation, .. } => Some(generation),
        Trend::Still | Trend::Back { .. } | Trend::Arrived { .. } => None,
    };
    let booting = place.processes().filter(|p| p.is_booting());
    // Also who is failing and not gone yet: that it failed is known when it is gone.
    let novices = place
        .processes()
        .filter(|p| p.ready_since.is_none() && Some(p.generation) == tried);
    let recycled = place
        .leavers
        .iter()
        .filter(|p| p.fate == Some(ExitKind::Recycled));
    let member = place.member();
    Entry {
        vacant: vacant(place, outlook.trend),
        outdated: outdated(place, outlook.trend),
        worn: worn(place),
        retired: place.retired,
        unready: !place.retired && member.is_none(),
        member,
        tally: Tally {
            workers: place.processes().count(),
            booting: booting.count(),
            successors: usize::from(place.successor.is_some()),
            novices: novices.count(),
            recycled: recycled.count(),
            stale: common.tally.stale,
        },
        ..common
    }
}

/// When something about a process here is due.
fn due(place: &Place, outlook: &Outlook, policy: &Policy) -> Option<Now> {
    let deadlines = place.processes().filter_map(Occupant::deadline);
    // Whoever was told to leave is judged by the time it was given for that.
    let hangs = place
        .occupant
        .iter()
        .chain(&place.successor)
        .filter_map(|process| process.hangs_at(outlook.worker_timeout));
    let duties = place.occupant.iter().filter_map(|agent| match agent.duty {
        // In a stop it has other deadlines.
        Duty::Leaving { deadline } if agent.is_ready() && outlook.serving => Some(deadline),
        Duty::Leaving { .. } | Duty::Kept | Duty::Left => None,
    });
    let age = place
        .occupant
        .as_ref()
        .filter(|o| o.worn.is_none() && o.is_ready() && outlook.serving);
    let age = age.and_then(|o| expiry(o, policy));
    let recovery = place.recovers_at(outlook.stable);
    deadlines
        .chain(hangs)
        .chain(duties)
        .chain(age)
        .chain(recovery)
        .min()
}

/// When a worker has lived for long enough.
fn expiry(occupant: &Occupant, policy: &Policy) -> Option<Now> {
    let seed = policy.backoff.jitter_seed;
    occupant.id.seat.slot()?;
    let lifetime = policy.recycle.lifetime(occupant.id.incarnation, seed)?;
    Some(occupant.ready_since? + lifetime)
}

fn vacant(place: &Place, trend: Trend) -> Option<Now> {
    let free = place.occupant.is_none() && place.successor.is_none() && !place.retired;
    let at = match trend {
        // A new build is not held to what became of the one before.
        Trend::To { proven: true, .. } => Now::ZERO,
        Trend::To { .. } | Trend::Still | Trend::Back { .. } | Trend::Arrived { .. } => {
            place.vacant_until
        }
    };
    free.then_some(at)
}

fn outdated(place: &Place, trend: Trend) -> Option<Now> {
    let held_by = place.occupant.as_ref().map(|o| o.generation);
    let at = match trend {
        Trend::To { generation, .. } => (held_by != Some(generation)).then_some(Now::ZERO),
        Trend::Back { generation } => (held_by == Some(generation)).then_some(place.vacant_until),
        Trend::Still | Trend::Arrived { .. } => None,
    };
    at.filter(|_| place.successor.is_none() && !place.retired)
}

fn worn(place: &Place) -> Option<Now> {
    let occupant = place.occupant.as_ref()?;
    let wants = occupant.worn.is_some() && matches!(occupant.phase, Phase::Ready { .. });
    let free = place.successor.is_none() && !place.retired;
    (wants && free).then_some(place.vacant_until)
}

/// Whether a process is of a generation that is to disappear.
fn is_stale(process: &Occupant, trend: Trend, adopted: Generation) -> bool {
    match trend {
        Trend::Still | Trend::To { .. } => false,
        Trend::Back { generation } => process.generation == generation,
        Trend::Arrived { agent } => {
            process.generation != adopted && (agent || process.id.seat != Seat::Agent)
        }
    }
}
