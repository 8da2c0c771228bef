//! Between the end of the addresses and the word to leave: whoever had connected is passed on meanwhile.

use std::time::Duration;

use hatchery_protocol::control::ClusterState;

use super::bench::{Bench, KILL_AFTER};
use crate::supervisor::{Policy, Scale};

const LAST_CALL: Duration = Duration::from_secs(1);

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Nobody passes anybody on until the story says so.
fn closing() -> Bench {
    let mut bench = Bench::serving(2);
    bench.passes_on = false;
    bench.stop().does(&["close listeners"]);
    bench.notes();
    bench
}

#[test]
fn nobody_is_told_to_leave_before_those_who_have_connected_are_passed_on() {
    let mut bench = closing();
    assert!(bench.is_stopping());
    assert_eq!(bench.state(), ClusterState::Stopping);
    bench.pass(millis(300));
    bench
        .listeners_closed()
        .does(&["drain w0 29.7s", "drain w1 29.7s"]);
    assert_eq!(bench.patience(), Some(millis(29_700) + KILL_AFTER));
    bench.listeners_closed().does_nothing();
    bench.exits("w0", 0).does_nothing();
    bench.exits("w1", 0).does(&["drain agent 29.7s"]);
    bench.exits("agent", 0).does(&["exit 0"]);
}

#[test]
fn whoever_cannot_keep_up_does_not_hold_up_a_stop() {
    let mut bench = closing();
    bench
        .due_after(LAST_CALL)
        .does(&["drain w0 29s", "drain w1 29s"]);
    bench.listeners_closed().does_nothing();
}

#[test]
fn at_once_waits_for_nobody() {
    let mut bench = Bench::serving(2);
    bench.passes_on = false;
    bench
        .stop_at_once()
        .does(&["close listeners", "kill agent", "kill w0", "kill w1"]);
    assert_eq!(bench.patience(), None);
    let mut bench = closing();
    bench
        .stop_at_once()
        .does(&["kill agent", "kill w0", "kill w1"]);
    assert_eq!(bench.patience(), None);
}

#[test]
fn a_second_stop_that_is_graceful_is_no_reason_to_hurry() {
    let mut bench = closing();
    bench.stop().does_nothing();
    assert_eq!(bench.patience(), Some(LAST_CALL));
}

#[test]
fn what_happens_meanwhile_belongs_to_the_stop() {
    let mut bench = closing();
    bench.exits("w0", 1).does_nothing();
    bench.link_breaks("agent").does(&["kill agent"]);
    let late = "order 1: the application is stopping";
    bench.reload(1).does(&[late]);
    bench
        .scale(2, Scale::Up)
        .does(&["order 2: the application is stopping"]);
    bench.is_killed("agent").does_nothing();
    bench.listeners_closed().does(&["drain w1 30s"]);
    bench.exits("w1", 0).does(&["exit 0"]);
}

#[test]
fn when_everybody_is_gone_there_is_nothing_to_wait_for() {
    let mut bench = closing();
    bench.exits("w0", 0).does_nothing();
    bench.exits("w1", 0).does_nothing();
    bench.exits("agent", 0).does(&["exit 0"]);
    bench.listeners_closed().does_nothing();
}

/// Who leaves already is held to the stop's deadline from its first moment on.
#[test]
fn a_drain_that_goes_on_gets_no_longer_by_it() {
    let mut bench = Bench::serving_with(Policy {
        drain_timeout: millis(200),
        ..Bench::policy(1)
    });
    bench.passes_on = false;
    bench.hook_fails("w0").whatever();
    bench.skip(millis(100));
    bench.stop().does(&["close listeners"]);
    bench.due_after(LAST_CALL).does_nothing();
    bench.due_after(millis(1_100)).does(&["kill w0"]);
}

#[test]
fn a_process_that_is_created_meanwhile_leaves_with_the_others() {
    let mut bench = Bench::serving(2);
    bench
        .exits("w0", 1)
        .does(&["spawn w0.2", "tell agent w0.2 w1: slot 0 down"]);
    bench.passes_on = false;
    bench.stop().does(&["close listeners"]);
    bench.spawned("w0.2").does_nothing();
    bench.ready("w0.2").does_nothing();
    bench
        .listeners_closed()
        .does(&["drain w0.2 30s", "drain w1 30s"]);
}

#[test]
fn a_new_master_leaves_the_same_time_to_those_who_connected_here() {
    let mut bench = Bench::serving(1);
    bench.upgrade(1).whatever();
    bench.successor_is_ready().whatever();
    bench.stood_down("agent").does(&["commit"]);
    bench.passes_on = false;
    bench
        .successor_serves()
        .does(&["order 1: done", "hand over listeners"]);
    bench.pass(millis(400));
    bench.listeners_closed().does(&["drain w0 29.6s"]);
}

#[test]
fn an_answer_that_nobody_asked_for_means_nothing() {
    let mut bench = Bench::serving(1);
    bench.listeners_closed().does_nothing();
    assert!(!bench.is_stopping());
}
