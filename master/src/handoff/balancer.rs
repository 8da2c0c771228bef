//! Who gets which connection: the whole of the bookkeeping, and no descriptor, clock or system call.
//!
//! A connection that was offered is in exactly one place: waiting, in a worker's outbox, in a batch on its
//! way, or with the worker that has confirmed it. Nothing moves but by an event, so every rule can be
//! tested without a process. `C` is what a connection is; the rules do not care.
//!
//! A worker is a candidate while it reads its lane, has nothing overdue, and has room: fewer connections
//! than it may have, and fewer unconfirmed ones than [`WINDOW`]. When nobody is, connections wait here, and
//! no more are accepted: the kernel's queue is the place for a crowd.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use hatchery_protocol::handoff::{MAX_BATCH, Receipt};
use hatchery_protocol::id::{ChildId, Slot};

use crate::strategy::{Candidate, Choose};

/// How many connections may be on their way to one worker without a receipt.
pub(super) const WINDOW: usize = 128;
/// How many connections the master may have in its hands, in all.
pub(super) const HELD: usize = 1024;
/// After how much silence about a batch others may get what the worker has not read.
pub(super) const STALL: Duration = Duration::from_millis(20);
/// The same where a client is to stay with its worker: longer than a worker is usually busy, or starved of
/// CPU on a busy machine.
pub(super) const LONG_STALL: Duration = Duration::from_secs(1);
/// How long a worker without descriptors, or with a full lane, is left alone.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// A connection that the master has accepted.
#[derive(Debug)]
pub(super) struct Connection<C> {
    /// The index of its listener.
    pub(super) listener: u16,
    pub(super) client: Option<IpAddr>,
    pub(super) it: C,
}

/// Connections for one worker, about to be sent.
#[derive(Debug)]
pub(super) struct Parcel<C> {
    pub(super) number: u64,
    pub(super) connections: Vec<Connection<C>>,
}

/// A receipt for something that was never sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

#[derive(Debug)]
pub(super) struct Balancer<C> {
    /// By slot, then by age.
    lanes: BTreeMap<ChildId, Lane<C>>,
    /// Accepted, and nobody has room.
    waiting: VecDeque<Connection<C>>,
    /// By listener.
    choosers: Vec<Box<dyn Choose>>,
    /// How many connections a worker may have; 0 is no limit.
    most: u32,
    /// [`STALL`] or [`LONG_STALL`].
    stall: Duration,
    /// The address is given up: those who are here are placed whatever the limits.
    last_call: bool,
    /// Who may get a connection, and what a strategy sees of them; kept for its memory only.
    candidates: (Vec<ChildId>, Vec<Candidate>),
}

/// What the master knows of one worker.
#[derive(Debug)]
struct Lane<C> {
    state: State,
    /// Until when it is left alone.
    paused: Duration,
    /// Chosen for it, not sent yet.
    outbox: VecDeque<Connection<C>>,
    /// Sent and unconfirmed, oldest first.
    sent: VecDeque<(Parcel<C>, Duration)>,
    /// How many connections those are.
    under_way: usize,
    /// The number of the last parcel.
    number: u64,
    /// How many connections it had at its last receipt.
    open: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was not told to begin.
    Joined,
    Reading,
    /// It has left connections unread for too long, and owes an answer.
    Stalled,
    /// It gets nothing more.
    Leaving,
}

impl<C> Lane<C> {
    /// How many connections are on their way to it.
    fn unconfirmed(&self) -> usize {
        self.outbox.len() + self.under_way
    }

    fn connections(&self) -> u64 {
        u64::from(self.open) + self.unconfirmed() as u64
    }

    /// When its oldest unconfirmed parcel is overdue.
    fn due(&self, stall: Duration) -> Duration {
        let oldest = self.sent.front();
        oldest.map_or(Duration::MAX, |(_, at)| *at + stall)
    }

    /// How many more it may be given.
    fn room(&self, most: u32, now: Duration) -> usize {
        if self.state != State::Reading || now < self.paused {
            return 0;
        }
        let window = WINDOW.saturating_sub(self.unconfirmed());
        match most {
            0 => window,
            most => {
                let left = u64::from(most).saturating_sub(self.connections());
                window.min(usize::try_from(left).unwrap_or(usize::MAX))
            }
        }
    }
}

impl<C> Balancer<C> {
    pub(super) const fn new(choosers: Vec<Box<dyn Choose>>, most: u32, stall: Duration) -> Self {
        Self {
            lanes: BTreeMap::new(),
            waiting: VecDeque::new(),
            choosers,
            most,
            stall,
            last_call: false,
            candidates: (Vec::new(), Vec::new()),
        }
    }

    /// Other strategies, or other weights of theirs, hold from now on, and another limit.
    pub(super) fn rule(&mut self, choosers: Vec<Box<dyn Choose>>, most: u32) {
        self.choosers = choosers;
        self.most = most;
    }

    /// A worker was started. It gets nothing before it was told to begin.
    pub(super) fn join(&mut self, child: ChildId) {
        let lane = Lane {
            state: State::Joined,
            paused: Duration::ZERO,
            outbox: VecDeque::new(),
            sent: VecDeque::new(),
            under_way: 0,
            number: 0,
            open: 0,
        };
        self.lanes.insert(child, lane);
    }

    /// A worker was told to begin: it is about to read.
    pub(super) fn hatch(&mut self, child: ChildId) {
        if let Some(lane) = self.lanes.get_mut(&child)
            && lane.state == State::Joined
        {
            lane.state = State::Reading;
        }
    }

    /// The addresses listen: every worker that is there is ready, and about to be told to begin. All of them
    /// count from the first client on, or it would find only those that were told before it came.
    pub(super) fn open(&mut self) {
        let joined: Vec<ChildId> = self.lanes.keys().copied().collect();
        for child in joined {
            self.hatch(child);
        }
    }

    /// The slots whose workers read, so that they look after their own sockets.
    pub(super) fn held_slots(&self) -> BTreeSet<Slot> {
        let held = |lane: &Lane<C>| matches!(lane.state, State::Reading | State::Stalled);
        let lanes = self.lanes.iter().filter(|(_, lane)| held(lane));
        lanes.filter_map(|(child, _)| child.seat.slot()).collect()
    }

    /// How many connections may be accepted now.
    pub(super) fn room(&self, now: Duration) -> usize {
        if !self.waiting.is_empty() {
            return 0;
        }
        let rooms = self.lanes.values().map(|lane| lane.room(self.most, now));
        let unconfirmed: usize = self.lanes.values().map(Lane::unconfirmed).sum();
        rooms.sum::<usize>().min(HELD.saturating_sub(unconfirmed))
    }

    /// A connection was accepted.
    pub(super) fn offer(&mut self, connection: Connection<C>, now: Duration) {
        if let Some(connection) = self.place(connection, now) {
            self.waiting.push_back(connection);
        }
    }

    /// Puts a connection into an outbox, or gives it back.
    fn place(&mut self, connection: Connection<C>, now: Duration) -> Option<Connection<C>> {
        self.find_candidates(now);
        let (children, candidates) = &self.candidates;
        let chooser = self.choosers.get_mut(usize::from(connection.listener));
        let chosen = match (chooser, candidates.is_empty()) {
            (Some(chooser), false) => chooser.choose(connection.client, candidates),
            _ => return Some(connection),
        };
        let child = children.get(chosen).or(children.first());
        match child.and_then(|child| self.lanes.get_mut(child)) {
            Some(lane) => lane.outbox.push_back(connection),
            None => return Some(connection),
        }
        None
    }

    fn find_candidates(&mut self, now: Duration) {
        let most = self.most;
        self.candidates_are(|lane| lane.room(most, now) > 0);
        if !self.last_call || !self.candidates.0.is_empty() {
            return;
        }
        // Whatever the limits; then who may read it some day, but a start may fail or never end.
        let open = |lane: &Lane<C>| now >= lane.paused && lane.state != State::Leaving;
        self.candidates_are(|lane| open(lane) && lane.state == State::Reading);
        if self.candidates.0.is_empty() {
            self.candidates_are(open);
        }
    }

    fn candidates_are(&mut self, fits: impl Fn(&Lane<C>) -> bool) {
        let (children, candidates) = &mut self.candidates;
        children.clear();
        candidates.clear();
        for (child, lane) in self.lanes.iter().filter(|(_, lane)| fits(lane)) {
            if let Some(slot) = child.seat.slot() {
                children.push(*child);
                let connections = lane.connections();
                candidates.push(Candidate { slot, connections });
            }
        }
    }

    /// Gives out who waits, as far as there is room. After the last call nobody waits for room: who cannot be
    /// placed, because no worker is left to read, is let go.
    pub(super) fn settle(&mut self, now: Duration) {
        while let Some(connection) = self.waiting.pop_front() {
            match self.place(connection, now) {
                Some(connection) if !self.last_call || self.is_anybody_paused(now) => {
                    return self.waiting.push_front(connection);
                }
                _ => {}
            }
        }
    }

    fn is_anybody_paused(&self, now: Duration) -> bool {
        let paused = |lane: &Lane<C>| now < lane.paused && lane.state != State::Leaving;
        self.lanes.values().any(paused)
    }

    /// Who has something to be sent.
    pub(super) fn addressees(&self) -> Vec<ChildId> {
        let lanes = self.lanes.iter();
        let full = lanes.filter(|(_, lane)| !lane.outbox.is_empty());
        full.map(|(child, _)| *child).collect()
    }

    /// The next parcel for a worker.
    pub(super) fn pack(&mut self, child: ChildId) -> Option<Parcel<C>> {
        let lane = self.lanes.get_mut(&child)?;
        let count = lane.outbox.len().min(MAX_BATCH);
        let connections: Vec<_> = lane.outbox.drain(..count).collect();
        (count > 0).then(|| Parcel {
            number: lane.number + 1,
            connections,
        })
    }

    /// The parcel is on its way.
    pub(super) fn sent(&mut self, child: ChildId, parcel: Parcel<C>, now: Duration) {
        if let Some(lane) = self.lanes.get_mut(&child) {
            lane.number = parcel.number;
            lane.under_way += parcel.connections.len();
            lane.sent.push_back((parcel, now));
        }
    }

    /// The parcel could not be sent: the worker is left alone for a moment, and others get it.
    pub(super) fn unsent(&mut self, child: ChildId, parcel: Parcel<C>, now: Duration) {
        if let Some(lane) = self.lanes.get_mut(&child) {
            lane.paused = now + PAUSE;
            let rest = std::mem::take(&mut lane.outbox);
            self.put_back(parcel.connections.into_iter().chain(rest));
        }
    }

    /// A worker confirms a parcel. The connections that did not arrive are given to others.
    pub(super) fn confirm(
        &mut self,
        child: ChildId,
        receipt: Receipt,
        now: Duration,
    ) -> Result<(), Nonsense> {
        let Some(lane) = self.lanes.get_mut(&child) else {
            return Ok(());
        };
        if receipt.number > lane.number {
            return Err(Nonsense);
        }
        lane.open = receipt.open;
        if matches!(lane.state, State::Joined | State::Stalled) {
            lane.state = State::Reading;
        }
        let mut lost = Vec::new();
        let is_confirmed = |(parcel, _): &(Parcel<C>, _)| parcel.number <= receipt.number;
        while lane.sent.front().is_some_and(is_confirmed) {
            let Some((mut parcel, _)) = lane.sent.pop_front() else {
                break;
            };
            lane.under_way -= parcel.connections.len();
            // An earlier one has its own receipt, unless the worker summed up.
            let taken = if parcel.number == receipt.number {
                usize::from(receipt.taken)
            } else {
                parcel.connections.len()
            };
            if taken > parcel.connections.len() {
                return Err(Nonsense);
            }
            lost.extend(parcel.connections.drain(taken..));
        }
        if !lost.is_empty() {
            lane.paused = now + PAUSE;
        }
        if receipt.leaving {
            lane.state = State::Leaving;
            lane.under_way = 0;
            lost.extend(lane.sent.drain(..).flat_map(|(p, _)| p.connections));
            lost.append(&mut lane.outbox.drain(..).collect());
        }
        self.put_back(lost);
        Ok(())
    }

    /// Workers that have left connections unread for so long that others should have them, if there are
    /// others.
    pub(super) fn overdue(&self, now: Duration) -> Vec<ChildId> {
        let late = |lane: &Lane<C>| lane.state == State::Reading && now >= lane.due(self.stall);
        let (late, prompt): (Vec<_>, Vec<_>) = self.lanes.iter().partition(|(_, lane)| late(lane));
        if prompt
            .iter()
            .all(|(_, lane)| lane.room(self.most, now) == 0)
        {
            return Vec::new();
        }
        late.into_iter().map(|(child, _)| *child).collect()
    }

    /// What a worker had not read was taken away from it again. It has to answer a question before it gets
    /// more; the result is that question's number.
    pub(super) fn take_back(&mut self, child: ChildId, numbers: &[u64]) -> Option<u64> {
        let lane = self.lanes.get_mut(&child)?;
        lane.state = State::Stalled;
        let (unread, read) = std::mem::take(&mut lane.sent)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(parcel, _)| numbers.contains(&parcel.number));
        lane.sent = read;
        let under_way = lane.sent.iter().map(|(p, _)| p.connections.len());
        lane.under_way = under_way.sum();
        let unread = unread
            .into_iter()
            .flat_map(|(parcel, _)| parcel.connections);
        let unread: Vec<_> = unread.chain(lane.outbox.drain(..)).collect();
        lane.number += 1;
        let question = lane.number;
        self.put_back(unread);
        Some(question)
    }

    /// A worker is to get nothing more. What is on its way to it, it will still read.
    pub(super) fn retire(&mut self, child: ChildId) {
        if let Some(lane) = self.lanes.get_mut(&child) {
            lane.state = State::Leaving;
            let outbox = std::mem::take(&mut lane.outbox);
            self.put_back(outbox);
        }
    }

    /// A worker is no more. What it had not confirmed, others get.
    pub(super) fn gone(&mut self, child: ChildId) {
        if let Some(lane) = self.lanes.remove(&child) {
            let sent = lane.sent.into_iter().flat_map(|(p, _)| p.connections);
            self.put_back(sent.chain(lane.outbox).collect::<Vec<_>>());
        }
    }

    /// No more are accepted from now on. Who is here is placed whatever the limits.
    pub(super) const fn last_call(&mut self) {
        self.last_call = true;
    }

    /// To the front, in their order: they have waited longest.
    fn put_back(&mut self, connections: impl IntoIterator<Item = Connection<C>>) {
        let mut connections: VecDeque<_> = connections.into_iter().collect();
        connections.append(&mut self.waiting);
        self.waiting = connections;
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let times = self.lanes.values().flat_map(|lane| {
            let paused = (lane.paused > now).then_some(lane.paused);
            let late = (lane.state == State::Reading && !lane.sent.is_empty())
                .then(|| lane.due(self.stall));
            // One that is overdue already and has nobody to help it is looked at again in a while.
            [paused, late.map(|late| late.max(now + STALL / 4))]
        });
        times.flatten().min()
    }
}

#[cfg(test)]
mod tests;
