//! Any story at all: whatever happens in whatever order, a connection is in one place, and in the end with a
//! worker.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use hatchery_protocol::id::Seat;
use proptest::prelude::{Just, ProptestConfig, TestCaseError, prop};
use proptest::strategy::Strategy as _;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::*;
use super::desk::Desk;
use crate::strategy::Strategy;

/// Three slots take part in a story; the last is for who comes in the end.
const RESCUER: Slot = 3;

#[derive(Debug, Clone)]
enum Step {
    /// At this listener, as many, each with the same last byte of its address, or none.
    Accept(u16, u32, Option<u8>),
    Read(Slot, usize),
    ReadTogether(Slot),
    /// A client is gone.
    Close(Slot),
    Die(Slot),
    Retire(Slot),
    /// The worker says that it reads no more.
    Leave(Slot),
    TakeBack(Slot),
    /// The lane takes nothing, or something again.
    Full(Slot, bool),
    Join(Slot),
    Wait(u32),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    let slot = 0..RESCUER;
    prop_oneof![
        4 => (0..2u16, 0..40u32, prop::option::of(0..6u8))
            .prop_map(|(listener, count, client)| Step::Accept(listener, count, client)),
        6 => (slot.clone(), prop_oneof![3 => Just(usize::MAX), 1 => 0..4usize])
            .prop_map(|(slot, most)| Step::Read(slot, most)),
        1 => slot.clone().prop_map(Step::ReadTogether),
        2 => slot.clone().prop_map(Step::Close),
        1 => slot.clone().prop_map(Step::Die),
        1 => slot.clone().prop_map(Step::Retire),
        1 => slot.clone().prop_map(Step::Leave),
        1 => slot.clone().prop_map(Step::TakeBack),
        1 => (slot.clone(), prop::bool::ANY).prop_map(|(slot, full)| Step::Full(slot, full)),
        2 => slot.prop_map(Step::Join),
        1 => (1..60u32).prop_map(Step::Wait),
    ]
}

/// The strategies where the master accepts.
fn strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    let names = ["round-robin", "least-connections", "weighted", "ip-hash"];
    prop::sample::select(names.map(|name| name.parse().unwrap()).to_vec())
}

/// A desk, and who is in each slot.
struct Story {
    desk: Desk,
    incarnations: [u64; 4],
}

impl Story {
    fn begin(strategies: &[Strategy], most: u32) -> Self {
        Self {
            desk: Desk::of(strategies, most),
            incarnations: [0; 4],
        }
    }

    fn child(&self, slot: Slot) -> ChildId {
        ChildId {
            seat: Seat::Worker(slot),
            incarnation: self.incarnations[slot as usize],
        }
    }

    fn happen(&mut self, step: &Step) {
        match *step {
            Step::Accept(listener, count, client) => self.accept(listener, count, client),
            Step::Read(slot, most) => self.desk.read(self.child(slot), most),
            Step::ReadTogether(slot) => self.desk.read_together(self.child(slot)),
            Step::Close(slot) => self.desk.close(self.child(slot)),
            Step::Die(slot) => self.desk.die(self.child(slot)),
            Step::Retire(slot) => self.desk.balancer.retire(self.child(slot)),
            Step::Leave(slot) => self.desk.leave(self.child(slot)),
            Step::TakeBack(slot) => self.take_back(self.child(slot)),
            Step::Full(slot, true) => drop(self.desk.full.insert(self.child(slot))),
            Step::Full(slot, false) => drop(self.desk.full.remove(&self.child(slot))),
            Step::Join(slot) => self.join(slot),
            Step::Wait(ms) => self.desk.now += Duration::from_millis(ms.into()),
        }
        self.desk.send();
    }

    fn accept(&mut self, listener: u16, count: u32, client: Option<u8>) {
        let client = client.map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        for _ in 0..count.min(u32::try_from(self.desk.balancer.room(self.desk.now)).unwrap()) {
            self.desk.offer(listener, client);
        }
    }

    /// Whoever is to leave is not asked for what it will still read.
    fn take_back(&mut self, child: ChildId) {
        let worker = self.desk.balancer.workers.get(&child);
        if worker.is_some_and(Account::is_reading) {
            self.desk.take_back(child);
        }
    }

    fn join(&mut self, slot: Slot) {
        self.desk.die(self.child(slot));
        self.incarnations[slot as usize] += 1;
        let newcomer = self.child(slot);
        self.desk.join(newcomer);
        self.desk.receipt(newcomer, 0, 0);
    }

    /// Each is with the master or was confirmed by exactly one worker, and the master never holds more than it
    /// may, nor a worker more than it may.
    fn check(&self, most: u32) -> Result<(), TestCaseError> {
        let desk = &self.desk;
        let held = desk.held();
        let served = desk.served.values().flatten().chain(&desk.closed).copied();
        let all: Vec<_> = held.iter().copied().chain(served).collect();
        let distinct: BTreeSet<_> = all.iter().copied().collect();
        prop_assert_eq!(distinct.len(), all.len(), "somebody is in two places");
        prop_assert_eq!(distinct.len(), desk.next as usize, "somebody is lost");
        prop_assert!(held.len() <= HELD);
        if most > 0 {
            for (child, served) in &desk.served {
                prop_assert!(served.len() <= most as usize, "{} has too many", child);
            }
        }
        Ok(())
    }

    /// From here on nobody does anything any more but time, and one worker that has just come, whose clients come
    /// and go. Who was to leave is killed for it in the end.
    fn rescue(&mut self) {
        let workers = self.desk.balancer.workers.iter();
        let leaving = workers.filter(|(_, worker)| !worker.holds_its_sockets());
        for child in leaving.map(|(child, _)| *child).collect::<Vec<_>>() {
            self.desk.die(child);
        }
        self.join(RESCUER);
        let rescuer = self.child(RESCUER);
        // Each round takes at least one of them.
        for _ in 0..=HELD {
            if self.desk.held().is_empty() {
                return;
            }
            self.desk.now += STALL + STALL;
            for child in self.desk.balancer.overdue(self.desk.now) {
                self.desk.take_back(child);
            }
            self.desk.send();
            self.desk.read_together(rescuer);
            while !self.desk.served[&rescuer].is_empty() {
                self.desk.close(rescuer);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn connections_are_conserved_and_none_hangs(
        steps in prop::collection::vec(step(), 1..60),
        strategies in (strategy(), strategy()),
        most in 0..20u32,
    ) {
        let mut story = Story::begin(&[strategies.0, strategies.1], most);
        for step in steps {
            story.happen(&step);
            story.check(most)?;
        }
        story.rescue();
        story.check(most)?;
        let held = story.desk.held();
        prop_assert!(held.is_empty(), "these are nobody's: {:?}", held);
    }
}
