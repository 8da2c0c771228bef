//! Workers that have worked enough: one at a time, the fresh one first.

use std::time::Duration;

use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::Seat;

use super::bench::Bench;
use crate::supervisor::{Policy, Recycle};

const LIFETIME: Duration = Duration::from_secs(3600);
const NOW: Duration = Duration::ZERO;

fn serving(workers: u32) -> Bench {
    Bench::serving_with(Policy {
        recycle: Recycle {
            max_requests: 100,
            max_lifetime: LIFETIME,
            max_memory: 1000,
            kill_memory: 2000,
            jitter_percent: 0,
        },
        ..Bench::policy(workers)
    })
}

#[test]
fn after_enough_requests_a_fresh_one_comes_first() {
    let mut bench = serving(2);
    bench.beats("w1", NOW, 99).does_nothing();
    bench.beats("w1", NOW, 100).does(&["spawn w1.2"]);
    bench.becomes_ready("w1.2").does(&[
        "tell agent w0 w1.2: w1.2 up",
        "egg-ready w1.2",
        "drain w1 30s",
    ]);
    bench.exits("w1", 0).does_nothing();
    let kind = bench.seat(Seat::Worker(1)).last_exit_kind;
    assert_eq!(kind, Some(ExitKind::Recycled));
    let notes = bench.notes();
    let recycling = "recycling worker 1: it has served 100 requests";
    assert_eq!(notes.first().unwrap(), recycling);
}

#[test]
fn one_at_a_time_until_the_worn_one_is_gone() {
    let mut bench = serving(2);
    bench.beats("w0", NOW, 100).does(&["spawn w0.2"]);
    bench.beats("w1", NOW, 100).does_nothing();
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w0", 0).does(&["spawn w1.2"]);
}

#[test]
fn after_long_enough_at_work() {
    let mut bench = serving(1);
    bench.due_after(LIFETIME).does(&["spawn w0.2"]);
}

#[test]
fn with_too_much_memory_it_is_replaced_and_with_far_too_much_killed() {
    let mut bench = serving(2);
    bench.has_memory("w0", 999).does_nothing();
    bench.has_memory("w0", 1000).does(&["spawn w0.2"]);
    bench
        .has_memory("w1", 2000)
        .does(&["kill w1", "tell agent w0 w0.2: slot 1 down"]);
    bench.is_killed("w1").does(&["spawn w1.2"]);
    let kind = bench.seat(Seat::Worker(1)).last_exit_kind;
    assert_eq!(kind, Some(ExitKind::Recycled));
}

#[test]
fn a_fresh_one_that_fails_is_tried_again_while_the_worn_one_works() {
    let mut bench = serving(1);
    bench.beats("w0", NOW, 100).whatever();
    bench.spawned("w0.2").whatever();
    bench.exits("w0.2", 1).does(&["spawn w0.3"]);
    bench.spawned("w0.3").whatever();
    bench.exits("w0.3", 1).does_nothing();
    bench.wait().does(&["spawn w0.4"]);
}

#[test]
fn a_worn_one_that_dies_leaves_its_place_to_the_fresh_one() {
    let mut bench = serving(1);
    bench.beats("w0", NOW, 100).whatever();
    bench.exits("w0", 1).does(&["tell agent w0.2: slot 0 down"]);
    bench
        .becomes_ready("w0.2")
        .does(&["tell agent w0.2: w0.2 up", "egg-ready w0.2"]);
}

#[test]
fn a_reload_replaces_everybody_anyway() {
    let mut bench = serving(2);
    bench.reload(1).whatever();
    bench.beats("w1", NOW, 100).does_nothing();
}

#[test]
fn and_so_does_an_upgrade() {
    let mut bench = serving(2);
    bench.upgrade(1).whatever();
    bench.beats("w1", NOW, 100).does_nothing();
}

#[test]
fn the_agent_is_not_recycled() {
    let mut bench = serving(1);
    bench.beats("agent", NOW, 1000).does_nothing();
    bench.has_memory("agent", 5000).does_nothing();
}

/// It waits for its turn, and then leaves by itself.
#[test]
fn a_worn_one_that_leaves_is_replaced_when_it_is_gone() {
    let mut bench = serving(2);
    bench.beats("w0", NOW, 100).does(&["spawn w0.2"]);
    bench.beats("w1", NOW, 100).does_nothing();
    bench
        .hook_fails("w1")
        .does(&["tell agent w0 w0.2: slot 1 down"]);
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w0", 0).does_nothing();
    bench.exits("w1", 1).does(&["spawn w1.2"]);
}

/// Who holds a seat while it boots is no longer somebody's successor.
#[test]
fn the_next_one_does_not_wait_for_a_seat_whose_worn_one_died() {
    let mut bench = serving(2);
    bench.beats("w0", NOW, 100).does(&["spawn w0.2"]);
    bench.exits("w0", 1).whatever();
    bench.beats("w1", NOW, 100).does(&["spawn w1.2"]);
}

#[test]
fn without_limits_nobody_is() {
    let mut bench = Bench::serving(1);
    bench.has_memory("w0", u64::MAX).does_nothing();
    bench.beats("w0", NOW, u64::MAX).does_nothing();
    assert_eq!(bench.patience(), None);
}

#[test]
fn the_first_reason_is_the_one_that_is_told() {
    let mut bench = serving(2);
    bench.beats("w0", NOW, 100).does(&["spawn w0.2"]);
    bench.beats("w1", NOW, 100).does_nothing();
    bench.has_memory("w1", 1000).does_nothing();
    bench.becomes_ready("w0.2").whatever();
    bench.notes();
    bench.exits("w0", 0).does(&["spawn w1.2"]);
    let recycling = "recycling worker 1: it has served 100 requests";
    assert_eq!(bench.notes().last().unwrap(), recycling);
}
