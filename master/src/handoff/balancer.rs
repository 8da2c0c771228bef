//! Who gets which connection: the whole of the bookkeeping, and no descriptor, clock or system call.
//!
//! A connection that was offered is in exactly one place: waiting, in a worker's outbox, in a batch on its
//! way, or with the worker that has confirmed it. Nothing moves but by an event, so every rule can be
//! tested without a process. `C` is what a connection is; the rules do not care.
//!
//! A worker is a candidate while it reads its lane, has nothing overdue, and has room: fewer connections
//! than it may have, and fewer unconfirmed ones than its [account](super::account) allows. When nobody is,
//! connections wait here, and no more are accepted: the kernel's queue is the place for a crowd.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use hatchery_protocol::handoff::Receipt;
use hatchery_protocol::id::{ChildId, Slot};

use super::account::{Account, Connection, Nonsense, Parcel};
use crate::strategy::{Candidate, Choose};

/// How many connections the master may have in its hands, in all.
pub(super) const HELD: usize = 1024;
/// After how much silence about a batch others may get what the worker has not read.
pub(super) const STALL: Duration = Duration::from_millis(20);
/// The same where a client is to stay with its worker: longer than a worker is usually busy, or starved of
/// CPU on a busy machine.
pub(super) const LONG_STALL: Duration = Duration::from_secs(1);
#[derive(Debug)]
pub(super) struct Balancer<C> {
    /// By slot, then by age.
    workers: BTreeMap<ChildId, Account<C>>,
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

impl<C> Balancer<C> {
    pub(super) const fn new(choosers: Vec<Box<dyn Choose>>, most: u32, stall: Duration) -> Self {
        Self {
            workers: BTreeMap::new(),
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
        self.workers.insert(child, Account::new());
    }

    /// A worker was told to begin: it is about to read.
    pub(super) fn hatch(&mut self, child: ChildId) {
        if let Some(worker) = self.workers.get_mut(&child) {
            worker.hatch();
        }
    }

    /// The addresses listen: every worker that is there is ready, and about to be told to begin. All of them
    /// count from the first client on, or it would find only those that were told before it came.
    pub(super) fn open(&mut self) {
        self.workers.values_mut().for_each(Account::hatch);
    }

    /// The slots whose workers read, so that they look after their own sockets.
    pub(super) fn held_slots(&self) -> BTreeSet<Slot> {
        let workers = self.workers.iter();
        let held = workers.filter(|(_, worker)| worker.holds_its_sockets());
        held.filter_map(|(child, _)| child.seat.slot()).collect()
    }

    /// How many connections may be accepted now.
    pub(super) fn room(&self, now: Duration) -> usize {
        if !self.waiting.is_empty() {
            return 0;
        }
        let workers = self.workers.values();
        let rooms = workers.clone().map(|worker| worker.room(self.most, now));
        let unconfirmed: usize = workers.map(Account::unconfirmed).sum();
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
        match child.and_then(|child| self.workers.get_mut(child)) {
            Some(worker) => worker.outbox.push_back(connection),
            None => return Some(connection),
        }
        None
    }

    fn find_candidates(&mut self, now: Duration) {
        let most = self.most;
        self.candidates_are(|worker| worker.room(most, now) > 0);
        if !self.last_call || !self.candidates.0.is_empty() {
            return;
        }
        // Whatever the limits; then who may read it some day, but a start may fail or never end.
        self.candidates_are(|worker| worker.is_open(now) && worker.is_reading());
        if self.candidates.0.is_empty() {
            self.candidates_are(|worker| worker.is_open(now));
        }
    }

    fn candidates_are(&mut self, fits: impl Fn(&Account<C>) -> bool) {
        let (children, candidates) = &mut self.candidates;
        children.clear();
        candidates.clear();
        for (child, worker) in self.workers.iter().filter(|(_, worker)| fits(worker)) {
            if let Some(slot) = child.seat.slot() {
                children.push(*child);
                let connections = worker.connections();
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
        self.workers.values().any(|worker| worker.is_paused(now))
    }

    /// Who has something to be sent.
    pub(super) fn addressees(&self) -> Vec<ChildId> {
        let workers = self.workers.iter();
        let full = workers.filter(|(_, worker)| !worker.outbox.is_empty());
        full.map(|(child, _)| *child).collect()
    }

    /// The next parcel for a worker.
    pub(super) fn pack(&mut self, child: ChildId) -> Option<Parcel<C>> {
        self.workers.get_mut(&child)?.pack()
    }

    /// The parcel is on its way.
    pub(super) fn sent(&mut self, child: ChildId, parcel: Parcel<C>, now: Duration) {
        if let Some(worker) = self.workers.get_mut(&child) {
            worker.sent(parcel, now);
        }
    }

    /// The parcel could not be sent: the worker is left alone for a moment, and others get it.
    pub(super) fn unsent(&mut self, child: ChildId, parcel: Parcel<C>, now: Duration) {
        if let Some(worker) = self.workers.get_mut(&child) {
            let unsent = worker.unsent(parcel, now);
            self.put_back(unsent);
        }
    }

    /// A worker confirms a parcel. The connections that did not arrive are given to others.
    pub(super) fn confirm(
        &mut self,
        child: ChildId,
        receipt: Receipt,
        now: Duration,
    ) -> Result<(), Nonsense> {
        if let Some(worker) = self.workers.get_mut(&child) {
            let lost = worker.confirm(receipt, now)?;
            self.put_back(lost);
        }
        Ok(())
    }

    /// Workers that have left connections unread for so long that others should have them, if there are
    /// others.
    pub(super) fn overdue(&self, now: Duration) -> Vec<ChildId> {
        let late = |worker: &Account<C>| worker.is_late(now, self.stall);
        let workers = self.workers.iter();
        let (late, prompt): (Vec<_>, Vec<_>) = workers.partition(|(_, worker)| late(worker));
        let has_room = |(_, worker): &(_, &Account<C>)| worker.room(self.most, now) > 0;
        if !prompt.iter().any(has_room) {
            return Vec::new();
        }
        late.into_iter().map(|(child, _)| *child).collect()
    }

    /// What a worker had not read was taken away from it again. It has to answer a question before it gets
    /// more; the result is that question's number.
    pub(super) fn take_back(&mut self, child: ChildId, numbers: &[u64]) -> Option<u64> {
        let worker = self.workers.get_mut(&child)?;
        let (question, unread) = worker.take_back(numbers);
        self.put_back(unread);
        Some(question)
    }

    /// A worker is to get nothing more. What is on its way to it, it will still read.
    pub(super) fn retire(&mut self, child: ChildId) {
        if let Some(worker) = self.workers.get_mut(&child) {
            let outbox = worker.retire();
            self.put_back(outbox);
        }
    }

    /// A worker is no more. What it had not confirmed, others get.
    pub(super) fn gone(&mut self, child: ChildId) {
        if let Some(worker) = self.workers.remove(&child) {
            self.put_back(worker.into_connections());
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
        let times = self.workers.values().flat_map(|worker| {
            let [paused, late] = worker.deadlines(now, self.stall);
            // One that is overdue already and has nobody to help it is looked at again in a while.
            [paused, late.map(|late| late.max(now + STALL / 4))]
        });
        times.flatten().min()
    }
}

#[cfg(test)]
mod tests;
