//! A master's desk in a test: the balancer, and workers that do what they are told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hatchery_protocol::id::Seat;

use super::super::*;
use crate::strategy::{Strategy, Way, Weights};

const START: Duration = Duration::from_secs(1);

pub(super) struct Desk {
    pub(super) balancer: Balancer<u32>,
    pub(super) now: Duration,
    /// How many connections there were so far; their numbers count from 0.
    pub(super) next: u32,
    /// What was sent and not read, by worker.
    pub(super) under_way: BTreeMap<ChildId, VecDeque<(u64, Vec<u32>)>>,
    /// Who has which connections.
    pub(super) served: BTreeMap<ChildId, Vec<u32>>,
    /// Served, and closed by their clients.
    pub(super) closed: Vec<u32>,
    /// The lanes that take nothing.
    pub(super) full: BTreeSet<ChildId>,
    /// The last batch that each worker has read.
    newest: BTreeMap<ChildId, u64>,
}

/// The first process in a slot.
pub(super) fn child(slot: Slot) -> ChildId {
    ChildId {
        seat: Seat::Worker(slot),
        incarnation: 1,
    }
}

impl Desk {
    /// With one listener, and workers that read.
    pub(super) fn new(workers: u32, most: u32) -> Self {
        let mut desk = Self::of(&[Strategy::default()], most);
        for slot in 0..workers {
            desk.join(child(slot));
            desk.receipt(child(slot), 0, 0);
        }
        desk
    }

    /// With a listener for each strategy, and without workers.
    pub(super) fn of(strategies: &[Strategy], most: u32) -> Self {
        let weights = Weights(vec![3, 1]);
        let choosers = strategies.iter().map(|strategy| {
            let Way::HandOver(make) = strategy.way() else {
                panic!("{strategy} does not hand over");
            };
            make(&weights)
        });
        Self {
            balancer: Balancer::new(choosers.collect(), most, STALL),
            now: START,
            next: 0,
            under_way: BTreeMap::new(),
            served: BTreeMap::new(),
            closed: Vec::new(),
            full: BTreeSet::new(),
            newest: BTreeMap::new(),
        }
    }

    pub(super) fn join(&mut self, child: ChildId) {
        self.balancer.join(child);
        self.under_way.insert(child, VecDeque::new());
        self.served.insert(child, Vec::new());
        self.newest.insert(child, 0);
    }

    pub(super) fn receipt(&mut self, child: ChildId, number: u64, taken: u16) {
        self.say(child, number, taken, false);
    }

    fn say(&mut self, child: ChildId, number: u64, taken: u16, leaving: bool) {
        let open = self.served.get(&child).map_or(0, Vec::len);
        let receipt = Receipt {
            number,
            taken,
            open: u32::try_from(open).unwrap(),
            leaving,
        };
        self.newest.insert(child, number);
        self.balancer.confirm(child, receipt, self.now).unwrap();
    }

    /// Accepts one, which is not sent yet.
    pub(super) fn offer(&mut self, listener: u16, client: Option<IpAddr>) {
        let it = self.next;
        self.next += 1;
        let connection = Connection {
            listener,
            client,
            it,
        };
        self.balancer.offer(connection, self.now);
    }

    /// Accepts as many, and sends them.
    pub(super) fn accept(&mut self, count: u32) {
        for _ in 0..count {
            self.offer(0, None);
        }
        self.send();
    }

    /// Sends until everybody has what there is for him.
    pub(super) fn send(&mut self) {
        loop {
            self.balancer.settle(self.now);
            let addressees = self.balancer.addressees();
            if addressees.is_empty() {
                return;
            }
            for child in addressees {
                self.send_to(child);
            }
        }
    }

    fn send_to(&mut self, child: ChildId) {
        while let Some(parcel) = self.balancer.pack(child) {
            if self.full.contains(&child) {
                return self.balancer.unsent(child, parcel, self.now);
            }
            let ids = parcel.connections.iter().map(|c| c.it).collect();
            let lane = self.under_way.get_mut(&child).unwrap();
            lane.push_back((parcel.number, ids));
            self.balancer.sent(child, parcel, self.now);
        }
    }

    /// A worker reads one batch, of which it gets at most so many, and confirms it.
    pub(super) fn read(&mut self, child: ChildId, at_most: usize) {
        let Some((number, mut ids)) = self.under_way.get_mut(&child).and_then(VecDeque::pop_front)
        else {
            return;
        };
        ids.truncate(at_most);
        let taken = u16::try_from(ids.len()).unwrap();
        self.served.get_mut(&child).unwrap().append(&mut ids);
        self.receipt(child, number, taken);
    }

    /// A worker reads all of its batches, and has one receipt for them.
    pub(super) fn read_together(&mut self, child: ChildId) {
        let batches = self.under_way.get_mut(&child).map(std::mem::take);
        let Some((number, newest)) = batches.iter().flatten().last().cloned() else {
            return;
        };
        let ids = batches.into_iter().flatten().flat_map(|(_, ids)| ids);
        self.served.get_mut(&child).unwrap().extend(ids);
        self.receipt(child, number, u16::try_from(newest.len()).unwrap());
    }

    pub(super) fn read_all(&mut self) {
        for child in self.under_way.keys().copied().collect::<Vec<_>>() {
            while !self.under_way[&child].is_empty() {
                self.read(child, usize::MAX);
            }
        }
    }

    /// A worker says that it will not read what comes after its last batch.
    pub(super) fn leave(&mut self, child: ChildId) {
        let Some(lane) = self.under_way.get_mut(&child) else {
            return;
        };
        lane.clear();
        let number = self.newest[&child];
        self.say(child, number, 0, true);
    }

    /// The client that a worker has had longest is gone, and the worker says how many it has now.
    pub(super) fn close(&mut self, child: ChildId) {
        let lives = self.under_way.contains_key(&child);
        let Some(served) = self
            .served
            .get_mut(&child)
            .filter(|served| !served.is_empty())
        else {
            return;
        };
        self.closed.push(served.remove(0));
        if lives {
            self.receipt(child, self.newest[&child], 0);
        }
    }

    /// The master takes back what a worker has not read, and asks it a question.
    pub(super) fn take_back(&mut self, child: ChildId) {
        let unread = self.under_way.get_mut(&child).map(std::mem::take);
        let numbers: Vec<_> = unread.into_iter().flatten().map(|(n, _)| n).collect();
        if let Some(question) = self.balancer.take_back(child, &numbers) {
            let lane = self.under_way.get_mut(&child).unwrap();
            lane.push_back((question, Vec::new()));
        }
    }

    pub(super) fn die(&mut self, child: ChildId) {
        self.balancer.gone(child);
        self.under_way.remove(&child);
        self.full.remove(&child);
    }

    pub(super) fn counts(&self) -> Vec<usize> {
        self.served.values().map(Vec::len).collect()
    }

    /// Everything that the master has in its hands.
    pub(super) fn held(&self) -> Vec<u32> {
        let waiting = self.balancer.waiting.iter();
        let workers = self.balancer.workers.values();
        let workers = workers.flat_map(|worker| {
            let sent = worker.sent.iter().flat_map(|(p, _)| &p.connections);
            sent.chain(&worker.outbox)
        });
        waiting.chain(workers).map(|c| c.it).collect()
    }
}
