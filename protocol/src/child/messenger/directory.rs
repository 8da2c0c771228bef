//! Who is there, and how much is under way to each. Pure.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use super::{Peer, Reach, SendError, Target};
use crate::id::Seat;
use crate::post::{Addressee, Limits};

/// Which of the two windows of a pair: answers must get through although messages fill theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Message,
    Answer,
}

#[derive(Debug)]
struct Known {
    peer: Peer,
    leaving: bool,
    /// What is under way, by class.
    messages: usize,
    answers: usize,
}

impl Known {
    const fn under_way(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Message => &mut self.messages,
            Class::Answer => &mut self.answers,
        }
    }
}

/// Whom a message goes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// One frame, copied by the master.
    Whole(Addressee, Reach),
    /// A frame for each of these: not everybody has room.
    Some(Vec<u64>, Reach),
}

#[derive(Debug)]
pub(super) struct Directory {
    own: Seat,
    limits: Limits,
    known: BTreeMap<u64, Known>,
    /// The newest process of each seat.
    holders: BTreeMap<Seat, u64>,
    /// How many have joined since the master began.
    joined: u64,
    random: u64,
}

impl Directory {
    pub(super) fn new(own: Seat, limits: Limits) -> Self {
        Self {
            own,
            limits,
            known: BTreeMap::new(),
            holders: BTreeMap::new(),
            joined: 0,
            random: RandomState::new().hash_one(own),
        }
    }

    pub(super) fn join(&mut self, peer: Peer) {
        self.joined += 1;
        self.holders.insert(peer.seat, peer.incarnation);
        let known = Known {
            peer,
            leaving: false,
            messages: 0,
            answers: 0,
        };
        self.known.insert(peer.incarnation, known);
    }

    /// Everybody who was there is known now; so many have joined since the master began.
    pub(super) const fn complete(&mut self, joined: u64) {
        self.joined = joined;
    }

    pub(super) fn leave(&mut self, incarnation: u64) -> Option<Peer> {
        let known = self.known.get_mut(&incarnation)?;
        known.leaving = true;
        Some(known.peer)
    }

    pub(super) fn left(&mut self, incarnation: u64) -> Option<Peer> {
        let known = self.known.remove(&incarnation)?;
        if self.holders.get(&known.peer.seat) == Some(&incarnation) {
            self.holders.remove(&known.peer.seat);
        }
        Some(known.peer)
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.holders.clear();
    }

    pub(super) fn peer(&self, incarnation: u64) -> Option<Peer> {
        self.known.get(&incarnation).map(|known| known.peer)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (Peer, bool)> {
        self.known.values().map(|known| (known.peer, known.leaving))
    }

    /// How many joins this process has heard of.
    pub(super) const fn joined(&self) -> u64 {
        self.joined
    }

    pub(super) fn has_room(&self, incarnation: u64) -> bool {
        let known = self.known.get(&incarnation);
        known.is_some_and(|known| known.messages < self.limits.window as usize)
    }

    /// Takes room, or not.
    pub(super) fn take(&mut self, incarnation: u64, class: Class, bytes: usize) -> bool {
        let window = self.limits.window as usize;
        let Some(known) = self.known.get_mut(&incarnation) else {
            return false;
        };
        let under_way = known.under_way(class);
        let room = *under_way < window;
        if room {
            *under_way += bytes;
        }
        room
    }

    /// The addressee has given room back.
    pub(super) fn give_back(&mut self, incarnation: u64, class: Class, bytes: usize) {
        if let Some(known) = self.known.get_mut(&incarnation) {
            let under_way = known.under_way(class);
            *under_way = under_way.saturating_sub(bytes);
        }
    }

    fn is_meant(&self, target: Target, seat: Seat) -> bool {
        match target {
            Target::All => true,
            Target::OwnSide => seat.role() == self.own.role(),
            Target::Workers
            | Target::Agent
            | Target::Slot(_)
            | Target::RandomWorker
            | Target::Process(_) => seat.slot().is_some(),
        }
    }

    /// Every process that a target of many means.
    pub(super) fn members(&self, target: Target) -> Vec<u64> {
        let meant = |known: &&Known| self.is_meant(target, known.peer.seat);
        let meant = self.known.values().filter(meant);
        meant.map(|known| known.peer.incarnation).collect()
    }

    /// The one process that a target means; `None` for a target of many.
    pub(super) fn one(&mut self, target: Target) -> Option<Result<u64, SendError>> {
        let found = match target {
            Target::All | Target::Workers => return None,
            Target::OwnSide if self.own != Seat::Agent => return None,
            Target::OwnSide | Target::Agent => {
                let agent = self.holders.get(&Seat::Agent).copied();
                return Some(agent.ok_or(SendError::AgentUnavailable));
            }
            Target::Slot(slot) => self.holders.get(&Seat::Worker(slot)).copied(),
            Target::Process(incarnation) => {
                self.known.contains_key(&incarnation).then_some(incarnation)
            }
            Target::RandomWorker => self.any_worker(),
        };
        Some(found.ok_or(SendError::NoSuchPeer(target)))
    }

    fn any_worker(&mut self) -> Option<u64> {
        let workers = || {
            let known = self.known.values();
            known.filter(|known| known.peer.seat.slot().is_some())
        };
        let number = |known: &Known| known.peer.incarnation;
        let mut candidates: Vec<u64> = workers()
            .filter(|known| !known.leaving && self.has_room(known.peer.incarnation))
            .map(number)
            .collect();
        if candidates.is_empty() {
            candidates = workers().map(number).collect();
        }
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let count = u64::try_from(candidates.len()).ok()?;
        let index = usize::try_from(bits.checked_rem(count)?).ok()?;
        candidates.get(index).copied()
    }

    /// Whom a message of `bytes` goes to; room is taken for it.
    pub(super) fn route(&mut self, target: Target, bytes: usize) -> Result<Route, SendError> {
        if let Some(one) = self.one(target) {
            let one = one?;
            if !self.take(one, Class::Message, bytes) {
                return Err(SendError::Full(target));
            }
            let reach = Reach {
                accepted: 1,
                ..Reach::default()
            };
            return Ok(Route::Whole(Addressee::One(one), reach));
        }
        let (open, full): (Vec<u64>, Vec<u64>) = self
            .members(target)
            .into_iter()
            .partition(|one| self.has_room(*one));
        if open.is_empty() {
            return Err(if full.is_empty() {
                SendError::NoSuchPeer(target)
            } else {
                SendError::Full(target)
            });
        }
        for one in &open {
            self.take(*one, Class::Message, bytes);
        }
        let reach = Reach {
            accepted: open.len(),
            full: full.len(),
            kept: false,
        };
        Ok(match (full.is_empty(), target) {
            (true, Target::All) => Route::Whole(Addressee::All, reach),
            (true, _) => Route::Whole(Addressee::Workers, reach),
            (false, _) => Route::Some(open, reach),
        })
    }
}
