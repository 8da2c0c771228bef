//! A stop that is announced first: everything goes on, until the time is over or somebody asks again.

use std::time::Duration;

use hatchery_protocol::control::ClusterState;

use super::bench::{Bench, DRAIN, KILL_AFTER};

const DELAY: Duration = Duration::from_secs(10);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn serving(workers: u32) -> Bench {
    let mut bench = Bench::serving_with_delay(workers, DELAY);
    bench.notes();
    bench
}

#[test]
fn a_stop_begins_when_its_delay_is_over() {
    let mut bench = serving(1);
    bench.stop().does(&["announce agent", "announce w0"]);
    assert_eq!(bench.notes(), ["stopping: SIGTERM"]);
    assert_eq!(bench.state(), ClusterState::Stopping);
    assert!(!bench.is_stopping(), "it has not begun");
    bench.pass(seconds(9));
    bench
        .due_after(seconds(1))
        .does(&["close listeners", "drain w0 30s"]);
    assert_eq!(bench.notes(), ["draining worker 0"], "announced once");
    assert!(bench.is_stopping());
    assert_eq!(
        bench.patience(),
        Some(DRAIN + KILL_AFTER),
        "all of its time"
    );
    bench.exits("w0", 0).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 0"]);
}

#[test]
fn until_then_the_dead_are_replaced() {
    let mut bench = serving(2);
    bench.stop().whatever();
    bench
        .exits("w0", 1)
        .does(&["spawn w0.2", "tell agent w0.2 w1: slot 0 down"]);
    bench.spawned("w0.2").does(&["announce w0.2"]);
    bench
        .ready("w0.2")
        .does(&["tell agent w0.2 w1: w0.2 up", "egg-ready w0.2"]);
    bench.exits("agent", 1).whatever();
    bench.spawned("agent.2").does(&["announce agent.2"]);
    bench
        .due_after(DELAY)
        .does(&["close listeners", "drain w0.2 30s", "drain w1 30s"]);
}

#[test]
fn whoever_asks_again_does_not_wait() {
    let mut bench = serving(1);
    bench.stop().whatever();
    bench.pass(seconds(3));
    bench.stop().does(&["close listeners", "drain w0 30s"]);
    bench.stop().does_nothing();
    bench.stop_at_once().does(&["kill agent", "kill w0"]);
}

#[test]
fn at_once_is_at_once() {
    let mut bench = serving(1);
    bench
        .stop_at_once()
        .does(&["close listeners", "kill agent", "kill w0"]);
    let mut bench = serving(1);
    bench.stop().whatever();
    bench
        .stop_at_once()
        .does(&["close listeners", "kill agent", "kill w0"]);
}

#[test]
fn what_comes_too_late_belongs_to_the_stop() {
    let mut bench = serving(2);
    bench.stop().whatever();
    bench.skip(DELAY);
    bench
        .exits("w0", 1)
        .does(&["close listeners", "drain w1 30s"]);
}

#[test]
fn a_start_is_stopped_without_a_delay() {
    let mut bench = Bench::new_with_delay(1, DELAY);
    bench.started().whatever();
    bench.becomes_ready("agent").whatever();
    bench.spawned("w0").whatever();
    bench.stop().does(&["close listeners", "drain w0 30s"]);
}

#[test]
fn what_operators_had_asked_for_is_given_up_at_once() {
    let mut bench = serving(1);
    bench.reload(1).whatever();
    bench.staged(1, 1).does(&["spawn w0.2"]);
    bench.spawned("w0.2").whatever();
    let late = "order 1: the application is stopping";
    bench
        .stop()
        .does(&[late, "announce agent", "announce w0", "drain w0.2 30s"]);
    let late = "order 2: the application is stopping";
    bench.reload(2).does(&[late]);
}
