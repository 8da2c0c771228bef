//! A reload: every slot gets a process of the new generation, or none does.

use hatchery_protocol::control::ClusterState;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::Seat;

use super::bench::{Bench, DRAIN, KILL_AFTER, MARGIN, WORKER_START};
use crate::supervisor::{Policy, Scale};

/// The canary boots.
fn rolling(workers: u32) -> Bench {
    let mut bench = Bench::serving(workers);
    bench.notes();
    bench.reload(1).does(&["stage 1"]);
    bench.staged(1, workers).does(&["spawn w0.2"]);
    bench
}

#[test]
fn one_by_one_each_ready_before_the_old_one_leaves() {
    let mut bench = rolling(2);
    bench.spawned("w0.2").does_nothing();
    bench.ready("w0.2").does(&[
        "spawn w1.2",
        "tell agent w0.2 w1 w1.2: w0.2 up",
        "egg-ready w0.2",
        "drain w0 30s",
    ]);
    bench.exits("w0", 0).does_nothing();
    bench.becomes_ready("w1.2").does(&[
        "adopt",
        "tell agent w0.2 w1.2: w1.2 up",
        "egg-ready w1.2",
        "drain w1 30s",
    ]);
    assert_eq!(
        bench.state(),
        ClusterState::Reloading,
        "an old one is there"
    );
    bench.exits("w1", 0).does(&["order 1: done"]);
    assert_eq!(bench.state(), ClusterState::Ready);
    assert_eq!(
        bench.notes(),
        [
            "reload-started: SIGHUP",
            "worker-spawned worker 0",
            "worker-ready worker 0",
            "worker-replaced worker 0",
            "draining worker 0: a worker of generation 2 took its place",
            "worker-exited worker 0: a worker of generation 2 took its place; exited with code 0",
            "worker-spawned worker 1",
            "worker-ready worker 1",
            "worker-replaced worker 1",
            "draining worker 1: a worker of generation 2 took its place",
            "worker-exited worker 1: a worker of generation 2 took its place; exited with code 0",
            "reload-finished",
        ]
    );
    let seat = bench.seat(Seat::Worker(0));
    assert_eq!(seat.last_exit_kind, Some(ExitKind::Replaced));
    assert_eq!(seat.generation, 2);
}

#[test]
fn what_dies_afterwards_is_replaced_by_the_new_generation() {
    let mut bench = rolling(1);
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w0", 0).does(&["order 1: done"]);
    bench.exits("w0.2", 1).whatever();
    bench.becomes_ready("w0.3").whatever();
    assert_eq!(bench.seat(Seat::Worker(0)).generation, 2);
}

#[test]
fn after_the_first_as_many_at_once_as_the_surge_allows() {
    let mut bench = Bench::serving_with(Policy {
        surge: 2,
        ..Bench::policy(4)
    });
    bench.reload(1).whatever();
    bench.staged(1, 4).does(&["spawn w0.2"]);
    bench.spawned("w0.2").whatever();
    let done = bench.ready("w0.2").0;
    assert_eq!(done.get(..2).unwrap(), ["spawn w1.2", "spawn w2.2"]);
    let done = bench.becomes_ready("w2.2").0;
    assert_eq!(done.first().unwrap(), "spawn w3.2");
}

#[test]
fn a_first_one_that_fails_changes_nothing() {
    let mut bench = rolling(2);
    bench.spawned("w0.2").whatever();
    let cause = "worker 0 failed to start: exited with code 1";
    bench
        .exits("w0.2", 1)
        .does(&["unstage", &format!("order 1: {cause}")]);
    assert_eq!(bench.state(), ClusterState::Ready);
    assert_eq!(bench.patience(), None, "nothing is left to do");
    assert_eq!(
        bench.notes(),
        [
            "reload-started: SIGHUP",
            "worker-spawned worker 0",
            "worker-exited worker 0: exited with code 1",
            &format!("reload-failed: {cause}"),
        ]
    );
}

#[test]
fn one_that_hangs_in_its_start_fails_it() {
    let mut bench = rolling(1);
    bench.spawned("w0.2").whatever();
    bench.due_after(WORKER_START + MARGIN).does(&["kill w0.2"]);
    let done = bench.is_killed("w0.2").0;
    assert_eq!(done.first().unwrap(), "unstage");
    let kind = bench.seat(Seat::Worker(0)).last_exit_kind;
    assert_eq!(kind, Some(ExitKind::StartTimeout));
}

#[test]
fn one_that_cannot_be_created_fails_it() {
    let mut bench = rolling(1);
    bench.spawn_fails("w0.2").does(&[
        "unstage",
        "order 1: worker 0 failed to start: its process could not be created: out of memory",
    ]);
}

#[test]
fn nothing_to_reload_to_is_the_end_of_it() {
    let mut bench = Bench::serving(1);
    bench.reload(1).does(&["stage 1"]);
    bench.stage_fails(1).does(&["order 1: no such file"]);
    bench.staged(1, 1).does_nothing();
}

#[test]
fn a_later_failure_turns_everything_back() {
    let mut bench = rolling(2);
    bench.becomes_ready("w0.2").whatever();
    bench.spawned("w1.2").whatever();
    bench.exits("w1.2", 1).does(&["spawn w0.3"]);
    bench.exits("w0", 0).does_nothing();
    bench.becomes_ready("w0.3").does(&[
        "tell agent w0.3 w1: w0.3 up",
        "egg-ready w0.3",
        "drain w0.2 30s",
    ]);
    bench.exits("w0.2", 0).does(&[
        "unstage",
        "order 1: worker 1 failed to start: exited with code 1",
    ]);
    assert_eq!(bench.seat(Seat::Worker(0)).generation, 1);
}

#[test]
fn a_new_one_that_dies_at_work_turns_everything_back() {
    let mut bench = rolling(2);
    bench.becomes_ready("w0.2").whatever();
    bench.spawned("w1.2").whatever();
    bench
        .exits("w0.2", 1)
        .does(&["kill w1.2", "spawn w0.3", "tell agent w0.3 w1: slot 0 down"]);
    bench.exits("w0", 0).does_nothing();
    bench
        .is_killed("w1.2")
        .does(&["unstage", "order 1: worker 0 died: exited with code 1"]);
}

#[test]
fn a_way_back_that_fails_is_tried_again_later() {
    let mut bench = rolling(2);
    bench.becomes_ready("w0.2").whatever();
    bench.spawned("w1.2").whatever();
    bench.exits("w1.2", 1).does(&["spawn w0.3"]);
    bench.exits("w0", 0).whatever();
    bench.spawned("w0.3").whatever();
    bench.exits("w0.3", 1).does(&["spawn w0.4"]);
    bench.spawned("w0.4").whatever();
    bench.exits("w0.4", 1).does_nothing();
    bench.wait().does(&["spawn w0.5"]);
}

#[test]
fn an_old_one_that_dies_leaves_its_place_to_its_successor() {
    let mut bench = rolling(2);
    bench.spawned("w0.2").whatever();
    bench
        .exits("w0", 1)
        .does(&["tell agent w0.2 w1: slot 0 down"]);
    bench.ready("w0.2").does(&[
        "spawn w1.2",
        "tell agent w0.2 w1 w1.2: w0.2 up",
        "egg-ready w0.2",
    ]);
}

#[test]
fn an_old_one_without_successor_is_replaced_as_ever() {
    let mut bench = rolling(2);
    bench.spawned("w0.2").whatever();
    bench
        .exits("w1", 1)
        .does(&["spawn w1.2", "tell agent w0 w0.2 w1.2: slot 1 down"]);
}

/// A new build is what a crash loop waits for.
#[test]
fn a_slot_in_a_crash_loop_does_not_wait_for_its_backoff() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.exits("w0.2", 1).does_nothing();
    bench.reload(1).whatever();
    bench.staged(1, 1).does(&["spawn w0.3"]);
    bench.becomes_ready("w0.3").does(&[
        "adopt",
        "tell agent w0.3: w0.3 up",
        "egg-ready w0.3",
        "order 1: done",
    ]);
}

#[test]
fn whoever_asks_meanwhile_waits_for_one_more_run() {
    let mut bench = rolling(1);
    bench.reload(2).does_nothing();
    bench.reload(3).does_nothing();
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w0", 0).does(&["order 1: done", "stage 2"]);
    bench.staged(2, 1).does(&["spawn w0.3"]);
    bench.becomes_ready("w0.3").whatever();
    bench
        .exits("w0.2", 0)
        .does(&["order 2: done", "order 3: done"]);
    assert_eq!(bench.seat(Seat::Worker(0)).generation, 3);
}

#[test]
fn a_stop_wins() {
    let mut bench = rolling(2);
    bench.reload(2).whatever();
    bench.spawned("w0.2").whatever();
    bench.stop().does(&[
        "close listeners",
        "order 1: the application is stopping",
        "order 2: the application is stopping",
        "drain w0 30s",
        "drain w0.2 30s",
        "drain w1 30s",
    ]);
    bench
        .reload(3)
        .does(&["order 3: the application is stopping"]);
    bench.exits("w0", 0).does_nothing();
    bench.exits("w0.2", 0).does_nothing();
    bench.exits("w1", 0).does(&["drain agent 30s"]);
}

#[test]
fn before_egg_ready_there_is_nothing_to_reload() {
    let mut bench = Bench::booting(1);
    bench
        .reload(1)
        .does(&["order 1: the application is not ready yet"]);
}

#[test]
fn another_number_of_workers_comes_with_the_new_configuration() {
    let mut bench = Bench::serving(1);
    bench.reload(1).whatever();
    bench.staged(1, 2).does(&["spawn w0.2"]);
    bench.spawned("w0.2").whatever();
    let done = bench.ready("w0.2").0;
    assert_eq!(done.get(..2).unwrap(), ["adopt", "slots 2"]);
    bench.slots_ready(2).does(&["spawn w1"]);
}

#[test]
fn what_was_scaled_stays_where_the_configuration_says_nothing_new() {
    let mut bench = Bench::serving(2);
    bench.scale(1, Scale::To(1)).whatever();
    bench.exits("w1", 0).whatever();
    for (order, name) in [(2, "w0.2"), (3, "w0.3")] {
        bench.reload(order).whatever();
        bench.staged(order, 2).whatever();
        let done = bench.becomes_ready(name).0;
        assert!(!done.contains(&"slots 2".to_owned()), "{done:?}");
        let old = if order == 2 { "w0" } else { "w0.2" };
        bench.exits(old, 0).does(&[&format!("order {order}: done")]);
    }
    // Now it does.
    bench.reload(4).whatever();
    bench.staged(4, 3).whatever();
    assert!(
        bench
            .becomes_ready("w0.4")
            .0
            .contains(&"slots 3".to_owned())
    );
}

#[test]
fn a_number_that_is_ordered_in_a_reload_wins_against_what_the_reload_has_read() {
    let mut bench = Bench::serving(1);
    bench.reload(1).whatever();
    bench.staged(1, 5).whatever();
    bench.scale(2, Scale::To(2)).does(&["slots 2"]);
    let done = bench.becomes_ready("w0.2").0;
    assert!(!done.contains(&"slots 5".to_owned()), "{done:?}");
    bench.slots_ready(2).whatever();
    let done = bench.becomes_ready("w1").0;
    assert!(done.contains(&"order 2: done".to_owned()), "{done:?}");
    bench.exits("w0", 0).whatever();
    // It was read: only another number is something new.
    bench.reload(3).whatever();
    bench.staged(3, 5).whatever();
    bench.becomes_ready("w0.3").whatever();
    let done = bench.becomes_ready("w1.2").0;
    assert!(!done.contains(&"slots 5".to_owned()), "{done:?}");
}

#[test]
fn the_new_generation_is_judged_by_its_own_configuration() {
    let mut bench = Bench::serving(1);
    bench.reload(1).whatever();
    let staged = Policy {
        worker_start_timeout: WORKER_START * 2,
        ..Bench::policy(1)
    };
    bench.staged_with(1, staged).whatever();
    bench.spawned("w0.2").whatever();
    bench
        .due_after(WORKER_START * 2 + MARGIN)
        .does(&["kill w0.2"]);
}

#[test]
fn an_old_one_that_does_not_finish_is_killed() {
    let mut bench = rolling(1);
    bench.becomes_ready("w0.2").whatever();
    bench.due_after(DRAIN + KILL_AFTER).does(&["kill w0"]);
    bench.is_killed("w0").does(&["order 1: done"]);
    let kind = bench.seat(Seat::Worker(0)).last_exit_kind;
    assert_eq!(kind, Some(ExitKind::Replaced));
}

#[test]
fn a_new_one_that_is_about_to_fail_is_not_adopted() {
    let mut bench = rolling(2);
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w0", 0).whatever();
    bench.hook_fails("w0.2").whatever();
    let done = bench.becomes_ready("w1.2").0;
    assert!(!done.contains(&"adopt".to_owned()), "{done:?}");
}

#[test]
fn once_it_is_proven_the_new_build_fills_slots_whose_old_one_died() {
    let mut bench = rolling(3);
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w2", 1).whatever();
    bench.becomes_ready("w2.2").whatever();
    let done = bench.becomes_ready("w1.2").0;
    assert!(done.contains(&"adopt".to_owned()), "{done:?}");
}

#[test]
fn while_the_first_one_is_failing_there_is_no_second() {
    let mut bench = rolling(2);
    bench.spawned("w0.2").whatever();
    bench.hook_fails("w0.2").does_nothing();
    bench.exits("w0.2", 1).does(&[
        "unstage",
        "order 1: worker 0 failed to start: a hook failed: no database; exited with code 1",
    ]);
}
