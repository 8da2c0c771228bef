//! Rules as small stories; in `conservation` any story at all.

mod conservation;
mod desk;

use super::*;
use crate::handoff::account::{PAUSE, WINDOW};
use desk::{Desk, child};

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
    desk.leave(child(0));
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
    for _ in 0..4 {
        desk.offer(0, None);
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
    for _ in 0..4 {
        desk.offer(0, None);
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
    desk.offer(0, None);
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
