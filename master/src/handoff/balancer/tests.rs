//! Rules as small stories, and then any story at all: whatever happens in whatever order, a connection is in
//! one place.

use std::collections::BTreeSet;

use hatchery_protocol::id::Seat;
use proptest::prelude::{Just, ProptestConfig, prop};
use proptest::strategy::Strategy as _;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::handoff::account::{PAUSE, WINDOW};
use crate::strategy::{Strategy, Way, Weights};

const START: Duration = Duration::from_secs(1);

/// A master with one listener, and workers that do what they are told.
struct Desk {
    balancer: Balancer<u32>,
    now: Duration,
    next: u32,
    /// What was sent and not read, by worker.
    under_way: BTreeMap<ChildId, VecDeque<(u64, Vec<u32>)>>,
    /// Who has which connections.
    served: BTreeMap<ChildId, Vec<u32>>,
}

fn child(slot: Slot) -> ChildId {
    ChildId {
        seat: Seat::Worker(slot),
        incarnation: 1,
    }
}

impl Desk {
    fn new(workers: u32, most: u32) -> Self {
        let Way::HandOver(make) = Strategy::ROUND_ROBIN.way() else {
            panic!("the default hands over");
        };
        let mut desk = Self {
            balancer: Balancer::new(vec![make(&Weights::default())], most, STALL),
            now: START,
            next: 0,
            under_way: BTreeMap::new(),
            served: BTreeMap::new(),
        };
        for slot in 0..workers {
            desk.join(child(slot));
            desk.receipt(child(slot), 0, 0);
        }
        desk
    }

    fn join(&mut self, child: ChildId) {
        self.balancer.join(child);
        self.under_way.insert(child, VecDeque::new());
        self.served.insert(child, Vec::new());
    }

    fn receipt(&mut self, child: ChildId, number: u64, taken: u16) {
        let open = self.served.get(&child).map_or(0, Vec::len);
        let receipt = Receipt {
            number,
            taken,
            open: u32::try_from(open).unwrap(),
            leaving: false,
        };
        self.balancer.confirm(child, receipt, self.now).unwrap();
    }

    /// Accepts as many, and sends them.
    fn accept(&mut self, count: u32) {
        for _ in 0..count {
            let connection = Connection {
                listener: 0,
                client: None,
                it: self.next,
            };
            self.next += 1;
            self.balancer.offer(connection, self.now);
        }
        self.send();
    }

    fn send(&mut self) {
        self.balancer.settle(self.now);
        for child in self.balancer.addressees() {
            while let Some(parcel) = self.balancer.pack(child) {
                let ids = parcel.connections.iter().map(|c| c.it).collect();
                let lane = self.under_way.get_mut(&child).unwrap();
                lane.push_back((parcel.number, ids));
                self.balancer.sent(child, parcel, self.now);
            }
        }
    }

    /// A worker reads one batch, of which it gets at most so many, and confirms it.
    fn read(&mut self, child: ChildId, at_most: usize) {
        let Some((number, mut ids)) = self.under_way.get_mut(&child).and_then(VecDeque::pop_front)
        else {
            return;
        };
        ids.truncate(at_most);
        let taken = u16::try_from(ids.len()).unwrap();
        self.served.get_mut(&child).unwrap().append(&mut ids);
        self.receipt(child, number, taken);
    }

    fn read_all(&mut self) {
        for child in self.under_way.keys().copied().collect::<Vec<_>>() {
            while !self.under_way[&child].is_empty() {
                self.read(child, usize::MAX);
            }
        }
    }

    /// The master takes back what a worker has not read, and asks it a question.
    fn take_back(&mut self, child: ChildId) {
        let unread = self.under_way.get_mut(&child).map(std::mem::take);
        let numbers: Vec<_> = unread.into_iter().flatten().map(|(n, _)| n).collect();
        if let Some(question) = self.balancer.take_back(child, &numbers) {
            let lane = self.under_way.get_mut(&child).unwrap();
            lane.push_back((question, Vec::new()));
        }
    }

    fn die(&mut self, child: ChildId) {
        self.balancer.gone(child);
        self.under_way.remove(&child);
    }

    fn counts(&self) -> Vec<usize> {
        self.served.values().map(Vec::len).collect()
    }

    /// Everything that the master has in its hands.
    fn held(&self) -> Vec<u32> {
        let waiting = self.balancer.waiting.iter();
        let workers = self.balancer.workers.values();
        let workers = workers.flat_map(|worker| {
            let sent = worker.sent.iter().flat_map(|(p, _)| &p.connections);
            sent.chain(&worker.outbox)
        });
        waiting.chain(workers).map(|c| c.it).collect()
    }
}

#[test]
fn everybody_gets_the_same() {
    let mut desk = Desk::new(8, 0);
    desk.accept(801);
    desk.read_all();
    let counts = desk.counts();
    assert_eq!(counts.iter().sum::<usize>(), 801);
    assert!(
        counts.iter().all(|count| (100..=101).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn nothing_goes_to_a_worker_before_it_reads() {
    let mut desk = Desk::new(1, 0);
    desk.join(child(1));
    desk.accept(4);
    desk.read_all();
    assert_eq!(desk.counts(), [4, 0]);
    desk.receipt(child(1), 0, 0);
    desk.accept(4);
    desk.read_all();
    assert_eq!(desk.counts(), [6, 2]);
}

#[test]
fn a_limit_is_kept_and_the_rest_is_not_accepted() {
    let mut desk = Desk::new(2, 3);
    assert_eq!(desk.balancer.room(desk.now), 6);
    desk.accept(6);
    assert_eq!(desk.balancer.room(desk.now), 0, "on their way");
    desk.read_all();
    assert_eq!(desk.balancer.room(desk.now), 0, "there");
    desk.served.get_mut(&child(0)).unwrap().pop();
    desk.receipt(child(0), 1, 3);
    assert_eq!(desk.balancer.room(desk.now), 1, "one has left");
}

#[test]
fn the_master_holds_a_bounded_number() {
    let mut desk = Desk::new(100, 0);
    let mut accepted = 0;
    while desk.balancer.room(desk.now) > 0 {
        desk.accept(1);
        accepted += 1;
    }
    assert_eq!(accepted, HELD);
    let mut few = Desk::new(2, 0);
    while few.balancer.room(few.now) > 0 {
        few.accept(1);
    }
    assert_eq!(few.held().len(), 2 * WINDOW);
}

#[test]
fn what_a_dead_worker_has_not_confirmed_goes_to_another() {
    let mut desk = Desk::new(2, 0);
    desk.accept(2);
    desk.read_all();
    desk.accept(6);
    desk.read(child(1), usize::MAX);
    desk.die(child(0));
    desk.send();
    desk.read_all();
    assert_eq!(desk.counts(), [1, 7]);
    assert_eq!(desk.held(), [0; 0]);
}

#[test]
fn with_nobody_left_they_wait_for_the_next() {
    let mut desk = Desk::new(1, 0);
    desk.accept(3);
    desk.die(child(0));
    desk.send();
    assert_eq!(desk.held(), [0, 1, 2]);
    assert_eq!(desk.balancer.room(desk.now), 0);
    desk.join(child(1));
    desk.receipt(child(1), 0, 0);
    desk.send();
    desk.read_all();
    assert_eq!(desk.served[&child(1)], [0, 1, 2]);
}

#[test]
fn a_worker_that_leaves_gives_back_what_it_will_not_read() {
    let mut desk = Desk::new(2, 0);
    desk.accept(2);
    desk.read(child(0), usize::MAX);
    desk.accept(4);
    let farewell = Receipt {
        number: 1,
        taken: 1,
        open: 1,
        leaving: true,
    };
    desk.balancer.confirm(child(0), farewell, desk.now).unwrap();
    desk.under_way.insert(child(0), VecDeque::new());
    desk.send();
    desk.accept(2);
    desk.read_all();
    assert_eq!(desk.counts(), [1, 7]);
}

#[test]
fn a_worker_without_descriptors_is_left_alone_for_a_moment() {
    let mut desk = Desk::new(2, 0);
    desk.accept(8);
    desk.read(child(0), 1);
    desk.send();
    desk.read_all();
    assert_eq!(desk.counts(), [1, 7]);
    desk.accept(2);
    desk.read_all();
    assert_eq!(desk.counts(), [1, 9]);
    assert_eq!(desk.balancer.deadline(desk.now), Some(desk.now + PAUSE));
    desk.now += PAUSE;
    desk.accept(2);
    desk.read_all();
    assert_eq!(desk.counts(), [2, 10]);
}

#[test]
fn what_a_stalled_worker_has_not_read_others_get() {
    let mut desk = Desk::new(2, 0);
    desk.accept(4);
    desk.read(child(1), usize::MAX);
    assert_eq!(desk.balancer.deadline(desk.now), Some(desk.now + STALL));
    assert_eq!(desk.balancer.overdue(desk.now), []);
    desk.now += STALL;
    assert_eq!(desk.balancer.overdue(desk.now), [child(0)]);
    desk.take_back(child(0));
    desk.accept(2);
    desk.read(child(1), usize::MAX);
    desk.read(child(1), usize::MAX);
    assert_eq!(desk.counts(), [0, 6], "it gets nothing until it answers");
    desk.read(child(0), usize::MAX);
    desk.accept(2);
    desk.read_all();
    assert_eq!(desk.counts(), [1, 7]);
}

#[test]
fn with_no_other_a_stalled_worker_keeps_its_own() {
    let mut desk = Desk::new(1, 0);
    desk.accept(4);
    desk.now += STALL * 10;
    assert_eq!(desk.balancer.overdue(desk.now), []);
    assert!(
        desk.balancer.deadline(desk.now) > Some(desk.now),
        "it spins"
    );
    desk.read_all();
    assert_eq!(desk.counts(), [4]);
}

#[test]
fn a_parcel_that_cannot_be_sent_goes_to_another() {
    let mut desk = Desk::new(2, 0);
    for it in 0..4 {
        let client = None;
        let listener = 0;
        let connection = Connection {
            listener,
            client,
            it,
        };
        desk.balancer.offer(connection, desk.now);
    }
    let parcel = desk.balancer.pack(child(0)).unwrap();
    desk.balancer.unsent(child(0), parcel, desk.now);
    desk.send();
    desk.read_all();
    assert_eq!(desk.counts(), [0, 4]);
}

#[test]
fn what_was_chosen_for_a_worker_that_has_to_leave_goes_to_another() {
    let mut desk = Desk::new(2, 0);
    for it in 0..4 {
        let (listener, client) = (0, None);
        let connection = Connection {
            listener,
            client,
            it,
        };
        desk.balancer.offer(connection, desk.now);
    }
    desk.balancer.retire(child(0));
    desk.send();
    desk.accept(2);
    desk.read_all();
    assert_eq!(desk.counts(), [0, 6]);
}

#[test]
fn whoever_was_told_to_begin_is_about_to_read() {
    let mut desk = Desk::new(1, 0);
    desk.join(child(1));
    desk.balancer.hatch(child(1));
    desk.accept(4);
    desk.read_all();
    assert_eq!(desk.counts(), [2, 2]);
}

#[test]
fn the_first_client_finds_every_worker() {
    let mut desk = Desk::new(0, 0);
    for slot in 0..3 {
        desk.join(child(slot));
    }
    desk.balancer.open();
    desk.accept(3);
    desk.read_all();
    assert_eq!(desk.counts(), [1, 1, 1]);
}

#[test]
fn after_the_last_call_limits_do_not_count_and_nobody_waits() {
    let mut desk = Desk::new(1, 1);
    desk.join(child(1));
    desk.balancer.last_call();
    desk.accept(6);
    desk.read_all();
    assert_eq!(desk.counts(), [6, 0], "only to who reads");
    desk.die(child(0));
    desk.accept(2);
    desk.read_all();
    assert_eq!(desk.counts(), [6, 2], "or at least may begin to");
    desk.accept(2);
    desk.die(child(1));
    desk.send();
    assert_eq!(desk.held(), [0; 0]);
}

#[test]
fn after_the_last_call_a_full_lane_is_waited_for() {
    let mut desk = Desk::new(1, 0);
    desk.balancer.last_call();
    let connection = Connection {
        listener: 0,
        client: None,
        it: 0,
    };
    desk.balancer.offer(connection, desk.now);
    let parcel = desk.balancer.pack(child(0)).unwrap();
    desk.balancer.unsent(child(0), parcel, desk.now);
    desk.balancer.settle(desk.now);
    assert_eq!(desk.balancer.addressees(), [], "it spins");
    assert_eq!(desk.held(), [0]);
    assert_eq!(desk.balancer.deadline(desk.now), Some(desk.now + PAUSE));
    desk.now += PAUSE;
    desk.send();
    desk.read_all();
    assert_eq!(desk.counts(), [1]);
}

#[test]
fn a_receipt_for_what_was_never_sent_is_nonsense() {
    let mut desk = Desk::new(1, 0);
    desk.accept(2);
    for (number, taken) in [(2, 0), (1, 3)] {
        let receipt = Receipt {
            number,
            taken,
            open: 0,
            leaving: false,
        };
        let confirmed = desk.balancer.confirm(child(0), receipt, desk.now);
        assert_eq!(confirmed, Err(Nonsense));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Accept(u32),
    Read(Slot, usize),
    Die(Slot),
    Retire(Slot),
    TakeBack(Slot),
    Join(Slot),
    Wait(u32),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    let slot = 0..3u32;
    prop_oneof![
        4 => (0..40u32).prop_map(Step::Accept),
        6 => (slot.clone(), prop_oneof![3 => Just(usize::MAX), 1 => 0..4usize])
            .prop_map(|(slot, most)| Step::Read(slot, most)),
        1 => slot.clone().prop_map(Step::Die),
        1 => slot.clone().prop_map(Step::Retire),
        1 => slot.clone().prop_map(Step::TakeBack),
        2 => slot.prop_map(Step::Join),
        1 => (1..60u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Connections are conserved: each is with the master or was confirmed by exactly one worker, and the
    /// master never holds more than it may, nor a worker more than it may.
    #[test]
    fn connections_are_conserved(steps in prop::collection::vec(step(), 1..60), most in 0..20u32) {
        let mut desk = Desk::new(0, most);
        let mut incarnations = [0u64; 3];
        let id = |slot: Slot, incarnations: &[u64; 3]| ChildId {
            seat: Seat::Worker(slot),
            incarnation: incarnations[slot as usize],
        };
        for step in steps {
            match step {
                Step::Accept(count) => {
                    let room = u32::try_from(desk.balancer.room(desk.now)).unwrap();
                    desk.accept(count.min(room));
                }
                Step::Read(slot, most) => desk.read(id(slot, &incarnations), most),
                Step::Die(slot) => desk.die(id(slot, &incarnations)),
                Step::Retire(slot) => desk.balancer.retire(id(slot, &incarnations)),
                Step::TakeBack(slot) => desk.take_back(id(slot, &incarnations)),
                Step::Join(slot) => {
                    desk.die(id(slot, &incarnations));
                    incarnations[slot as usize] += 1;
                    let newcomer = id(slot, &incarnations);
                    desk.join(newcomer);
                    desk.receipt(newcomer, 0, 0);
                }
                Step::Wait(ms) => desk.now += Duration::from_millis(ms.into()),
            }
            desk.send();
            let held = desk.held();
            let served = desk.served.values().flatten().copied();
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
        }
    }
}
