//! A stop of a cluster that serves: addresses, workers in parallel, the agent, the master.

use std::time::Duration;

use hatchery_protocol::exit::ExitKind;

use super::bench::{Bench, DRAIN, KILL_AFTER};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn workers_drain_in_parallel_then_the_agent_then_the_master_ends() {
    let mut bench = Bench::serving(3);
    bench.notes();
    bench.stop().does(&[
        "close listeners",
        "drain w0 30s",
        "drain w1 30s",
        "drain w2 30s",
    ]);
    bench.exits("w1", 0).does_nothing();
    bench.exits("w0", 0).does_nothing();
    bench.exits("w2", 0).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 0"]);
    assert_eq!(
        bench.notes(),
        [
            "stopping: SIGTERM",
            "draining worker 0",
            "draining worker 1",
            "draining worker 2",
            "worker-exited worker 1: exited with code 0",
            "worker-exited worker 0: exited with code 0",
            "worker-exited worker 2: exited with code 0",
            "draining agent",
            "agent-exited agent: exited with code 0",
            "stopped",
        ]
    );
}

#[test]
fn one_deadline_is_handed_down() {
    let mut bench = Bench::serving(1);
    bench.stop().does(&["close listeners", "drain w0 30s"]);
    bench.pass(seconds(12));
    bench.exits("w0", 0).does(&["drain agent 18s"]);
    bench
        .due_after(seconds(18) + KILL_AFTER)
        .does(&["kill agent"]);
    bench.is_killed("agent").does(&["exit 0"]);
}

#[test]
fn whoever_does_not_finish_is_killed_and_the_agent_keeps_its_minimum() {
    let mut bench = Bench::serving(2);
    bench.stop().whatever();
    bench
        .due_after(DRAIN + KILL_AFTER)
        .does(&["kill w0", "kill w1"]);
    bench.is_killed("w0").does_nothing();
    bench.is_killed("w1").does(&["drain agent 2s"]);
    bench
        .due_after(KILL_AFTER + KILL_AFTER)
        .does(&["kill agent"]);
    bench.is_killed("agent").does(&["exit 0"]);
}

#[test]
fn a_second_stop_that_is_graceful_changes_nothing() {
    let mut bench = Bench::serving(1);
    bench.stop().whatever();
    bench.pass(seconds(10));
    bench.stop().does_nothing();
    assert_eq!(bench.patience(), Some(seconds(20) + KILL_AFTER));
}

#[test]
fn a_second_stop_at_once_cuts_everything_off() {
    let mut bench = Bench::serving(2);
    bench.stop().whatever();
    bench
        .stop_at_once()
        .does(&["kill agent", "kill w0", "kill w1"]);
    bench.stop_at_once().does_nothing();
    bench.is_killed("agent").does_nothing();
    bench.is_killed("w0").does_nothing();
    bench.is_killed("w1").does(&["exit 0"]);
}

#[test]
fn at_once_reaches_an_agent_that_drains_already() {
    let mut bench = Bench::serving(1);
    bench.stop().whatever();
    bench.exits("w0", 0).does(&["drain agent 30s"]);
    bench.stop_at_once().does(&["kill agent"]);
}

#[test]
fn at_once_from_the_beginning_drains_nobody() {
    let mut bench = Bench::serving(1);
    bench
        .stop_at_once()
        .does(&["close listeners", "kill agent", "kill w0"]);
    bench.is_killed("w0").does_nothing();
    bench.is_killed("agent").does(&["exit 0"]);
}

#[test]
fn a_death_during_a_stop_is_not_replaced() {
    let mut bench = Bench::serving(2);
    bench.stop().whatever();
    bench.exits("agent", 1).does_nothing();
    bench.exits("w0", 1).does_nothing();
    bench.exits("w1", 1).does(&["exit 0"]);
}

#[test]
fn a_seat_that_waits_for_its_turn_stays_empty() {
    let mut bench = Bench::serving(2);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.exits("w0.2", 1).does_nothing();
    bench.stop().does(&["close listeners", "drain w1 30s"]);
    assert_eq!(bench.patience(), Some(DRAIN + KILL_AFTER));
    bench.exits("w1", 0).does(&["drain agent 30s"]);
}

#[test]
fn a_replacement_on_its_way_is_drained_too() {
    let mut bench = Bench::serving(2);
    bench.exits("w0", 1).whatever();
    bench.exits("w1", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.stop().does(&["close listeners", "drain w0.2 30s"]);
    bench.pass(seconds(5));
    bench.spawned("w1.2").does(&["drain w1.2 25s"]);
    bench.ready("w1.2").does_nothing();
    bench.exits("w0.2", 0).does_nothing();
    bench.exits("w1.2", 0).does(&["drain agent 25s"]);
}

#[test]
fn a_process_that_leaves_already_is_not_asked() {
    let mut bench = Bench::serving(1);
    bench.hook_fails("w0").whatever();
    bench.pass(seconds(20));
    bench.stop().does(&["close listeners"]);
    bench.due_after(seconds(10) + KILL_AFTER).does(&["kill w0"]);

    let mut bench = Bench::serving(1);
    bench.hook_fails("agent").whatever();
    bench.stop().does(&["close listeners", "drain w0 30s"]);
    bench.exits("agent", 1).does_nothing();
    bench.exits("w0", 0).does(&["exit 0"]);
}

#[test]
fn an_agent_that_fails_during_a_stop_is_held_to_its_deadline() {
    let mut bench = Bench::serving(1);
    bench.stop().whatever();
    bench.pass(seconds(25));
    bench.hook_fails("agent").does_nothing();
    bench.exits("w0", 0).does_nothing();
    bench
        .due_after(seconds(5) + KILL_AFTER)
        .does(&["kill agent"]);
}

/// Its time was shorter than the stop's already.
#[test]
fn a_stop_gives_no_time_to_a_child_whose_start_failed() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.hook_fails("w0.2").whatever();
    bench.stop().does(&["close listeners"]);
    bench.due_after(KILL_AFTER).does(&["kill w0.2"]);
}

#[test]
fn a_broken_link_ends_a_drain() {
    let mut bench = Bench::serving(1);
    bench.stop().whatever();
    bench.link_breaks("w0").does(&["kill w0"]);
    bench.is_killed("w0").does(&["drain agent 30s"]);
}

/// Only the agent has a minimum.
#[test]
fn a_worker_that_comes_after_the_deadline_has_no_time() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.stop().does(&["close listeners"]);
    bench.skip(DRAIN + seconds(1));
    bench.spawned("w0.2").does(&["drain w0.2 0ns"]);
}

/// A drain that takes too long is no start that does.
#[test]
fn who_did_not_finish_was_killed_and_nothing_else() {
    let mut bench = Bench::serving(1);
    bench.stop().whatever();
    bench.due_after(DRAIN + KILL_AFTER).does(&["kill w0"]);
    bench.is_killed("w0").whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::Signal]);
}
