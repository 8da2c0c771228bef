//! Any sequence of events: what was accepted arrives, in order, once, and between the sender's coming and its going.

use std::collections::{BTreeMap, BTreeSet};

use hatchery_protocol::id::Seat;
use hatchery_protocol::post::{Frames, HEADER};
use proptest::prelude::*;

use super::*;

/// One thing that happens; children are meant by a number that is taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Join(bool),
    Hatch(usize),
    Retire(usize),
    Gone(usize),
    Send { from: usize, to: To, kind: Kind },
    Carry(usize),
}

#[derive(Debug, Clone, Copy)]
enum To {
    One(usize),
    Workers,
    All,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let to = prop_oneof![
        any::<usize>().prop_map(To::One),
        Just(To::Workers),
        Just(To::All)
    ];
    let kind = prop::sample::select(vec![Kind::Message, Kind::Request, Kind::Reply]);
    let step = prop_oneof![
        2 => any::<bool>().prop_map(Step::Join),
        3 => any::<usize>().prop_map(Step::Hatch),
        1 => any::<usize>().prop_map(Step::Retire),
        1 => any::<usize>().prop_map(Step::Gone),
        20 => (any::<usize>(), to, kind).prop_map(|(from, to, kind)| Step::Send { from, to, kind }),
        10 => any::<usize>().prop_map(Step::Carry),
    ];
    prop::collection::vec(step, 1..300)
}

/// What one child has read.
#[derive(Debug, Default)]
struct Reader {
    /// The last number from each sender.
    last: BTreeMap<u64, u64>,
    /// All of them, whoever they came from.
    read: BTreeSet<u64>,
    present: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    open: bool,
}

impl Reader {
    fn read(&mut self, packet: &Packet<u32>) {
        let mut files = packet.files.iter();
        for frame in Frames::new(&packet.bytes) {
            let frame = frame.unwrap();
            let peer = frame.head.peer;
            match frame.head.kind {
                Kind::Joined => assert!(self.present.insert(peer) && !self.gone.contains(&peer)),
                Kind::Leaving => assert!(self.present.contains(&peer)),
                Kind::Left => {
                    assert!(self.present.remove(&peer));
                    self.gone.insert(peer);
                }
                Kind::Open => assert!(!std::mem::replace(&mut self.open, true)),
                Kind::Message
                | Kind::Request
                | Kind::Reply
                | Kind::Refusal
                | Kind::Unanswered
                | Kind::Room => {
                    assert!(
                        self.open && self.present.contains(&peer),
                        "a stranger speaks"
                    );
                    let number: u64 = std::str::from_utf8(frame.topic).unwrap().parse().unwrap();
                    let last = self.last.insert(peer, number);
                    assert!(last < Some(number), "{last:?} before {number}");
                    self.read.insert(number);
                    if matches!(frame.body, Body::Large(_)) {
                        assert_eq!(files.next().copied().map(u64::from), Some(number));
                    }
                }
            }
        }
        assert_eq!(files.next(), None);
    }
}

fn child(incarnation: u64, worker: bool) -> ChildId {
    let seat = if worker {
        Seat::Worker(u32::try_from(incarnation % 4).unwrap())
    } else {
        Seat::Agent
    };
    ChildId { seat, incarnation }
}

const LIMITS: Limits = Limits {
    max_message: 100_000,
    window: 64 * 1024,
};

fn pick(children: &BTreeMap<u64, ChildId>, number: usize) -> Option<ChildId> {
    let index = number.checked_rem(children.len())?;
    children.values().nth(index).copied()
}

/// Who has to read what one sender sends now: everybody who has begun and is meant, unless too much of that sender's waits
/// for him.
fn receivers(
    router: &Router<u32>,
    hatched: &BTreeSet<u64>,
    from: u64,
    to: To,
    peer: u64,
) -> Vec<u64> {
    let most = 2 * LIMITS.most() + SMALL;
    let meant = |one: &&u64| match to {
        To::One(_) => **one == peer,
        To::Workers => router.members[*one].child.seat.slot().is_some(),
        To::All => true,
    };
    let has_room = |one: &&u64| {
        let waiting = router.members[*one].from.get(&from);
        waiting.is_none_or(|waiting| *waiting <= most)
    };
    let receivers = hatched.iter().filter(meant).filter(has_room);
    receivers.copied().collect()
}

fn read_all(router: &mut Router<u32>, incarnation: u64, reader: &mut Reader) {
    while let Some(packet) = router.front(incarnation) {
        reader.read(packet);
        router.sent(incarnation);
    }
}

fn live(steps: Vec<Step>) {
    let mut router = Router::new(LIMITS);
    let mut children: BTreeMap<u64, ChildId> = BTreeMap::new();
    let mut hatched = BTreeSet::new();
    let mut readers: BTreeMap<u64, Reader> = BTreeMap::new();
    let mut accepted: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Join(worker) => {
                let incarnation = u64::try_from(readers.len()).unwrap() + 1;
                router.join(child(incarnation, worker));
                children.insert(incarnation, child(incarnation, worker));
                readers.insert(incarnation, Reader::default());
            }
            Step::Hatch(which) => {
                let Some(child) = pick(&children, which) else {
                    continue;
                };
                // Some are told twice.
                router.hatch(&[(child, 7)]);
                hatched.insert(child.incarnation);
            }
            Step::Retire(which) => {
                if let Some(child) = pick(&children, which) {
                    router.retire(child);
                }
            }
            Step::Gone(which) => {
                if let Some(child) = pick(&children, which) {
                    router.gone(child);
                    children.remove(&child.incarnation);
                    hatched.remove(&child.incarnation);
                    assert_eq!(router.front(child.incarnation).map(|p| &p.bytes), None);
                }
            }
            Step::Send { from, to, kind } => {
                let Some(from) = pick(&children, from) else {
                    continue;
                };
                let peer = match to {
                    To::One(to) => pick(&children, to).map_or(99, |to| to.incarnation),
                    To::Workers => Addressee::Workers.number(),
                    To::All => Addressee::All.number(),
                };
                number += 1;
                let topic = number.to_string();
                let (body, file) = if number % 5 == 0 {
                    (Body::Large(50_000), u32::try_from(number).ok())
                } else {
                    (Body::Inline(b"payload"), None)
                };
                let flags = 0;
                let head = Head {
                    kind,
                    flags,
                    peer,
                    id: router.joined,
                };
                let topic = topic.as_bytes();
                let frame = Frame { head, topic, body };
                let receivers = receivers(&router, &hatched, from.incarnation, to, peer);
                let outcome = router.route(from.incarnation, &frame, file.as_ref());
                let many = !matches!(to, To::One(_)) && kind != Kind::Message;
                let wrong = many || !hatched.contains(&from.incarnation);
                assert_eq!(outcome.is_err(), wrong, "{kind:?} to {to:?}");
                if !wrong {
                    for receiver in receivers {
                        accepted.entry(receiver).or_default().insert(number);
                    }
                }
            }
            Step::Carry(which) => {
                let Some(child) = pick(&children, which) else {
                    continue;
                };
                if let Some(packet) = router.front(child.incarnation) {
                    readers.get_mut(&child.incarnation).unwrap().read(packet);
                    router.sent(child.incarnation);
                }
            }
        }
    }
    for (incarnation, child) in &children {
        let reader = readers.get_mut(incarnation).unwrap();
        read_all(&mut router, *incarnation, reader);
        // In the end everybody who is there has read all that was accepted for him, and nothing else,
        let accepted = accepted.remove(incarnation).unwrap_or_default();
        assert_eq!(reader.read, accepted);
        // and knows just those who are there.
        if hatched.contains(&child.incarnation) {
            assert_eq!(reader.present, hatched);
        }
    }
    assert_eq!(router.addressed(), [] as [u64; 0]);
    let books = router.members.values().flat_map(|m| m.from.values());
    assert_eq!(
        books.sum::<usize>(),
        0,
        "nothing waits, and the books say so"
    );
}

proptest! {
    // A life is long.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_messages_are_in_order_once_and_never_from_strangers(steps in steps()) {
        live(steps);
    }
}

fn message(to: u64, id: u64, body: Body<'static>) -> Frame<'static> {
    let head = Head {
        kind: Kind::Message,
        flags: 0,
        peer: to,
        id,
    };
    let topic = b"t";
    Frame { head, topic, body }
}

fn two() -> Router<u32> {
    let mut router = Router::new(LIMITS);
    for incarnation in [1, 2] {
        router.join(child(incarnation, true));
    }
    router.hatch(&[(child(1, true), 7), (child(2, true), 8)]);
    router
}

fn heads(router: &mut Router<u32>, to: u64) -> Vec<Head> {
    let mut heads = Vec::new();
    while let Some(packet) = router.front(to) {
        heads.extend(Frames::new(&packet.bytes).map(|frame| frame.unwrap().head));
        router.sent(to);
    }
    heads
}

/// A sender that does not care for windows costs so much and no more.
#[test]
fn what_waits_for_one_who_does_not_read_is_bounded() {
    let mut router = two();
    let body = Body::Inline(&[0; 1000]);
    for _ in 0..10_000 {
        router.route(1, &message(2, 0, body), None).unwrap();
    }
    let most = 2 * LIMITS.most() + SMALL + 2 * HEADER + 2000;
    assert!(router.members[&2].outgoing.bytes() < most);
    assert_eq!(router.unruly(), [child(1, true)]);
    router.route(1, &message(2, 0, body), None).unwrap();
    assert!(router.unruly().is_empty(), "named once");
    router.route(2, &message(1, 0, body), None).unwrap();
    assert_eq!(heads(&mut router, 1).last().unwrap().peer, 2);
}

/// Who joined after the sender looked gets the message, and gives no room back that was never taken.
#[test]
fn a_newcomer_gets_what_was_sent_to_all_for_free() {
    let mut router = two();
    router.join(child(3, true));
    router.hatch(&[(child(3, true), 9)]);
    let to = Addressee::All.number();
    router
        .route(1, &message(to, 2, Body::Inline(b"")), None)
        .unwrap();
    let flags = |router: &mut Router<u32>, to| heads(router, to).last().unwrap().flags;
    assert_eq!(flags(&mut router, 2), 0);
    assert_eq!(flags(&mut router, 3), flag::FREE);
}

#[test]
fn a_lost_file_gives_the_room_back() {
    let mut router = two();
    heads(&mut router, 1);
    router
        .route(1, &message(2, 0, Body::Large(50_000)), None)
        .unwrap();
    let news = heads(&mut router, 1);
    let cost = LIMITS.cost(1, 50_000) as u64;
    assert_eq!(
        (news[0].kind, news[0].peer, news[0].id),
        (Kind::Room, 2, cost)
    );
}

#[test]
fn what_a_child_may_not_say_is_refused() {
    let mut router = two();
    let too_large = message(2, 0, Body::Large(100_001));
    let refused = router.route(1, &too_large, Some(&1));
    assert_eq!(refused, Err(FrameError::Payload(100_001)));
    let mut announcement = message(2, 0, Body::Inline(b""));
    announcement.head.kind = Kind::Left;
    assert_eq!(
        router.route(1, &announcement, None),
        Err(FrameError::Kind(18))
    );
}
