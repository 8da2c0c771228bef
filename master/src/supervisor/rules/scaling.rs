//! More workers, or fewer: at the high end, with addresses ready first and drained last.

use std::time::Duration;

use hatchery_protocol::control::ClusterState;
use hatchery_protocol::exit::ExitKind;

use super::bench::Bench;
use crate::supervisor::{Policy, Recycle, Scale};

#[test]
fn more_workers_come_when_the_addresses_are_ready_for_them() {
    let mut bench = Bench::serving(1);
    bench.notes();
    bench.scale(1, Scale::To(3)).does(&["slots 3"]);
    bench.tick().does_nothing();
    bench.slots_ready(3).does(&["spawn w1", "spawn w2"]);
    bench.becomes_ready("w2").whatever();
    let done = bench.becomes_ready("w1").0;
    assert_eq!(done.last().unwrap(), "order 1: done");
    let notes = bench.notes();
    assert_eq!(
        notes.first().unwrap(),
        "scaled: 3 workers, as SIGTTIN asked"
    );
    assert!(
        !notes.contains(&"worker-replaced worker 1".to_owned()),
        "{notes:?}"
    );
}

#[test]
fn the_highest_slots_leave_and_then_their_part_of_the_addresses() {
    let mut bench = Bench::serving(3);
    bench.scale(1, Scale::To(1)).does(&[
        "tell agent w0: slot 1 down, slot 2 down",
        "drain w1 30s",
        "drain w2 30s",
    ]);
    bench.exits("w2", 0).does_nothing();
    bench.exits("w1", 0).does(&["slots 1", "order 1: done"]);
    bench.stop().does(&["close listeners", "drain w0 30s"]);
}

#[test]
fn one_more_and_one_less() {
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::Up).does(&["slots 2"]);
    bench.slots_ready(2).whatever();
    bench.becomes_ready("w1").whatever();
    bench
        .scale(2, Scale::Down)
        .does(&["tell agent w0: slot 1 down", "drain w1 30s"]);
    bench.exits("w1", 0).does(&["slots 1", "order 2: done"]);
    let refused = "order 3: at least one worker has to stay";
    bench.scale(3, Scale::Down).does(&[refused]);
    let refused = "order 4: at least one worker has to stay";
    bench.scale(4, Scale::To(0)).does(&[refused]);
}

#[test]
fn as_many_as_there_are_is_done_at_once() {
    let mut bench = Bench::serving(2);
    bench.scale(1, Scale::To(2)).does(&["order 1: done"]);
}

#[test]
fn addresses_that_cannot_be_made_ready_leave_everything_as_it_was() {
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::To(5)).whatever();
    bench
        .slots_fail(5)
        .does(&["order 1: there cannot be 5 workers: too many open files"]);
    bench.scale(2, Scale::Up).does(&["slots 2"]);
}

#[test]
fn a_new_worker_that_fails_is_told_and_tried_again() {
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::Up).whatever();
    bench.slots_ready(2).does(&["spawn w1"]);
    bench.spawned("w1").whatever();
    bench.exits("w1", 1).does(&[
        "order 1: worker 1 failed to start and is going to be tried again: exited with code 1",
        "spawn w1.2",
    ]);
}

#[test]
fn a_later_order_takes_the_place_of_an_earlier_one() {
    let mut bench = Bench::serving(2);
    bench.scale(1, Scale::To(4)).does(&["slots 4"]);
    bench.scale(2, Scale::To(1)).does(&[
        "order 1: a later order, to keep 1, took its place",
        "tell agent w0: slot 1 down",
        "drain w1 30s",
    ]);
    bench.exits("w1", 0).does_nothing();
    bench.slots_ready(4).does(&["slots 1", "order 2: done"]);
    let notes = bench.notes();
    let told = notes.iter().filter(|note| note.starts_with("scaled"));
    assert_eq!(told.count(), 1, "{notes:?}");
}

#[test]
fn a_slot_that_is_wanted_again_while_its_worker_leaves_is_filled_at_once() {
    let mut bench = Bench::serving(2);
    bench.scale(1, Scale::Down).whatever();
    bench.scale(2, Scale::Up).does(&[
        "order 1: a later order, to keep 2, took its place",
        "spawn w1.2",
    ]);
    bench.exits("w1", 0).does_nothing();
    let done = bench.becomes_ready("w1.2").0;
    assert_eq!(done.last().unwrap(), "order 2: done");
}

#[test]
fn a_reload_takes_new_slots_along() {
    let mut bench = Bench::serving(1);
    bench.reload(1).whatever();
    bench.staged(1, 1).does(&["spawn w0.2"]);
    bench.scale(2, Scale::Up).does(&["slots 2"]);
    bench.slots_ready(2).does(&["spawn w1"]);
    bench.becomes_ready("w1").whatever();
    let done = bench.becomes_ready("w0.2").0;
    assert_eq!(done.first().unwrap(), "spawn w1.2");
    bench.exits("w0", 0).does_nothing();
    let done = bench.becomes_ready("w1.2").0;
    assert_eq!(done.first().unwrap(), "adopt");
    bench.exits("w1", 0).does(&["order 1: done"]);
}

#[test]
fn a_worker_that_leaves_its_slot_leaves_orderly() {
    let mut bench = Bench::serving(2);
    bench.scale(1, Scale::Down).whatever();
    bench.exits("w1", 0).whatever();
    let last = bench.exit_kinds().pop();
    assert_eq!(last, Some(ExitKind::Orderly));
}

#[test]
fn no_more_boot_at_once_than_may() {
    let mut bench = Bench::serving_with(Policy {
        booting: 2,
        ..Bench::policy(1)
    });
    bench.scale(1, Scale::To(5)).whatever();
    bench.slots_ready(5).does(&["spawn w1", "spawn w2"]);
    bench.spawned("w1").does_nothing();
    let done = bench.becomes_ready("w2").0;
    assert_eq!(done.first().unwrap(), "spawn w3");
}

#[test]
fn in_a_start_all_boot_at_once() {
    let mut bench = Bench::with(Policy {
        booting: 1,
        ..Bench::policy(2)
    });
    bench.started().whatever();
    bench
        .becomes_ready("agent")
        .does(&["spawn w0", "spawn w1", "tell w0 w1: agent"]);
}

#[test]
fn a_stop_answers_whoever_waits() {
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::Up).whatever();
    bench.stop().does(&[
        "close listeners",
        "order 1: the application is stopping",
        "drain w0 30s",
    ]);
    bench.slots_ready(2).does_nothing();
}

/// Whatever became of it before it was given up.
#[test]
fn a_slot_that_is_wanted_again_begins_a_new_row() {
    let mut bench = Bench::serving_with(Policy {
        recycle: Recycle {
            max_requests: 100,
            ..Recycle::default()
        },
        ..Bench::policy(2)
    });
    bench.beats("w1", Duration::ZERO, 100).does(&["spawn w1.2"]);
    bench.spawned("w1.2").whatever();
    bench.exits("w1.2", 1).does(&["spawn w1.3"]);
    bench.spawned("w1.3").whatever();
    bench.exits("w1.3", 1).does_nothing();
    bench.wait().does(&["spawn w1.4"]);
    bench.spawned("w1.4").whatever();
    bench.exits("w1.4", 1).does_nothing();
    assert_eq!(bench.state(), ClusterState::Degraded);
    bench.scale(1, Scale::Down).whatever();
    assert_eq!(bench.state(), ClusterState::Ready);
    bench.scale(2, Scale::Up).does(&[
        "order 1: a later order, to keep 2, took its place",
        "spawn w1.5",
    ]);
    assert_eq!(bench.state(), ClusterState::Ready);
    bench.spawned("w1.5").whatever();
    let done = bench.exits("w1.5", 1).0;
    assert_eq!(done.last().unwrap(), "spawn w1.6");
}

#[test]
fn a_reload_does_not_wait_for_slots_that_are_given_up() {
    let mut bench = Bench::serving(2);
    bench.reload(1).whatever();
    bench.staged(1, 2).does(&["spawn w0.2"]);
    bench.scale(2, Scale::To(1)).whatever();
    let done = bench.becomes_ready("w0.2").0;
    assert_eq!(done.first().unwrap(), "adopt");
    assert!(
        !done.iter().any(|what| what.starts_with("spawn")),
        "{done:?}"
    );
}

#[test]
fn one_may_always_boot() {
    let mut bench = Bench::serving_with(Policy {
        booting: 0,
        ..Bench::policy(2)
    });
    bench
        .exits("w0", 1)
        .does(&["spawn w0.2", "tell agent w0.2 w1: slot 0 down"]);
}

#[test]
fn who_is_sent_away_in_its_start_makes_room_at_once() {
    let mut bench = Bench::serving_with(Policy {
        booting: 1,
        ..Bench::policy(1)
    });
    bench.scale(1, Scale::To(2)).whatever();
    bench.slots_ready(2).does(&["spawn w1"]);
    bench.spawned("w1").whatever();
    bench.exits("w0", 1).does(&["tell agent w1: slot 0 down"]);
    let done = bench.scale(2, Scale::To(1)).0;
    assert!(done.contains(&"spawn w0.2".to_owned()), "{done:?}");
}

#[test]
fn addresses_are_asked_for_one_number_at_a_time() {
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::To(3)).does(&["slots 3"]);
    let newer = "order 1: a later order, to keep 4, took its place";
    bench.scale(2, Scale::To(4)).does(&[newer]);
    bench.slots_ready(2).does_nothing();
    bench.slots_ready(3).does(&["slots 4"]);
    bench
        .slots_ready(4)
        .does(&["spawn w1", "spawn w2", "spawn w3"]);
}

#[test]
fn a_slot_that_is_given_up_in_its_start_is_not_waited_for() {
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::To(2)).whatever();
    bench.slots_ready(2).does(&["spawn w1"]);
    bench.spawned("w1").whatever();
    bench.scale(2, Scale::To(1)).whatever();
    bench.exits("w1", 0).does(&["slots 1", "order 2: done"]);
}
