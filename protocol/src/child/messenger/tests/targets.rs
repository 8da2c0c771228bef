//! Whom a target means while processes come, leave and are gone.

use std::collections::BTreeSet;

use super::*;

/// Whom one message goes to.
#[track_caller]
fn goes_to(desk: &Desk, target: Target) -> u64 {
    desk.messenger.send(target, "t", &1).unwrap();
    let said = desk.said();
    assert_eq!(said.len(), 1, "{target}");
    said[0].2
}

/// Whom a hundred random messages go to: more than enough to meet everybody who is meant.
fn randomly_to(desk: &Desk) -> BTreeSet<u64> {
    let any = |_| goes_to(desk, Target::RandomWorker);
    (0..100).map(any).collect()
}

fn fill(desk: &Desk, incarnation: u64) {
    let target = Target::Process(incarnation);
    let send = || desk.messenger.send_bytes(target, "t", vec![0; 1000]);
    let refused = std::iter::repeat_with(send).find_map(Result::err);
    assert!(matches!(refused, Some(SendError::Full(_))));
    desk.said();
}

fn join(desk: &Desk, incarnation: u64, slot: Option<u64>) {
    let above = slot.map_or(0, |slot| slot + 1) << 32;
    desk.hear(Kind::Joined, 0, incarnation, (10 + incarnation) | above);
}

const WORKERS: u64 = u64::MAX - 1;

#[test]
fn a_slot_is_the_old_process_until_the_new_one_has_joined() {
    let desk = Desk::open();
    assert_eq!(goes_to(&desk, Target::Slot(1)), 3);
    desk.hear(Kind::Leaving, 0, 3, 0);
    assert_eq!(goes_to(&desk, Target::Slot(1)), 3, "it reads to its end");
    assert_eq!(goes_to(&desk, Target::Workers), WORKERS);
    join(&desk, 5, Some(1));
    assert_eq!(goes_to(&desk, Target::Slot(1)), 5);
    assert_eq!(goes_to(&desk, Target::Process(3)), 3);
    let reach = desk.messenger.send(Target::Workers, "t", &1).unwrap();
    assert_eq!((reach.accepted, reach.full), (4, 0), "both of the slot");
    desk.said();
    desk.hear(Kind::Left, 0, 3, 0);
    assert_eq!(goes_to(&desk, Target::Slot(1)), 5, "who left was another");
    desk.hear(Kind::Left, 0, 5, 0);
    for gone in [Target::Slot(1), Target::Process(3), Target::Process(5)] {
        let refused = desk.messenger.send(gone, "t", &1).unwrap_err();
        assert!(matches!(refused, SendError::NoSuchPeer(none) if none == gone));
    }
    assert_eq!(goes_to(&desk, Target::Workers), WORKERS);
}

#[test]
fn the_agent_is_the_newest_one() {
    let desk = Desk::open();
    desk.hear(Kind::Leaving, 0, 2, 0);
    assert_eq!(goes_to(&desk, Target::Agent), 2);
    join(&desk, 5, None);
    assert_eq!(goes_to(&desk, Target::Agent), 5);
    desk.hear(Kind::Left, 0, 2, 0);
    assert_eq!(goes_to(&desk, Target::Agent), 5);
    desk.hear(Kind::Left, 0, 5, 0);
    let refused = desk.messenger.send(Target::Agent, "t", &1).unwrap_err();
    assert!(matches!(refused, SendError::AgentUnavailable));
}

#[test]
fn a_random_worker_is_one_that_stays_and_has_room() {
    let desk = Desk::open();
    assert_eq!(randomly_to(&desk), BTreeSet::from([1, 3, 4]));
    desk.hear(Kind::Leaving, 0, 3, 0);
    assert_eq!(randomly_to(&desk), BTreeSet::from([1, 4]));
    join(&desk, 5, Some(1));
    assert_eq!(randomly_to(&desk), BTreeSet::from([1, 4, 5]));
    fill(&desk, 4);
    assert_eq!(randomly_to(&desk), BTreeSet::from([1, 5]));
    desk.hear(Kind::Room, 0, 4, 10_000);
    assert_eq!(randomly_to(&desk), BTreeSet::from([1, 4, 5]));
    // When nobody is left who stays, those who leave are better than nobody.
    for stays in [1, 4, 5] {
        desk.hear(Kind::Left, 0, stays, 0);
    }
    assert_eq!(randomly_to(&desk), BTreeSet::from([3]));
    fill(&desk, 3);
    let refused = desk.messenger.send(Target::RandomWorker, "t", &1);
    assert!(matches!(
        refused,
        Err(SendError::Full(Target::RandomWorker))
    ));
}

#[tokio::test]
async fn who_comes_leaves_and_is_gone_is_told_in_order() {
    let desk = Desk::open();
    desk.hear(Kind::Leaving, 0, 3, 0);
    let mut events = desk.messenger.peer_events();
    join(&desk, 5, Some(1));
    desk.hear(Kind::Leaving, 0, 4, 0);
    desk.hear(Kind::Left, 0, 3, 0);
    // Nobody was heard of by that number.
    desk.hear(Kind::Leaving, 0, 99, 0);
    desk.hear(Kind::Left, 0, 99, 0);
    desk.office.close();
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(match event {
            PeerEvent::Joined(peer) => ("joined", peer.incarnation),
            PeerEvent::Leaving(peer) => ("leaving", peer.incarnation),
            PeerEvent::Left(peer) => ("left", peer.incarnation),
        });
    }
    let there = [
        ("joined", 1),
        ("joined", 2),
        ("joined", 3),
        ("leaving", 3),
        ("joined", 4),
    ];
    assert_eq!(told[..5], there);
    assert_eq!(told[5..], [("joined", 5), ("leaving", 4), ("left", 3)]);
}
