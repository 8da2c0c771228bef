//! A stop has one outcome in each moment of a start: what was begun is ended in order, with code 0.

use super::bench::{AGENT_START, Bench, DRAIN, KILL_AFTER};

/// The agent's process is being created.
fn spawning() -> Bench {
    let mut bench = Bench::new(2);
    bench.started().does(&["spawn agent"]);
    bench
}

#[test]
fn before_anything_was_begun() {
    let mut bench = Bench::new(2);
    bench.stop().does(&["close listeners", "exit 0"]);
    bench.started().does_nothing();
}

#[test]
fn while_the_agent_is_created_it_is_drained_when_it_exists() {
    let mut bench = spawning();
    bench.stop().does(&["close listeners"]);
    bench.tick().does_nothing();
    bench.spawned("agent").does(&["drain agent 30s"]);
    bench.ready("agent").does_nothing();
    bench.exits("agent", 0).does(&["exit 0"]);
}

#[test]
fn while_the_agent_is_created_and_then_is_not() {
    let mut bench = spawning();
    bench.stop().does(&["close listeners"]);
    bench.spawn_fails("agent").does(&["exit 0"]);
}

#[test]
fn at_once_while_the_agent_is_created_it_is_killed_when_it_exists() {
    let mut bench = spawning();
    bench.stop_at_once().does(&["close listeners"]);
    bench.spawned("agent").does(&["kill agent"]);
    bench.ready("agent").does_nothing();
    bench.is_killed("agent").does(&["exit 0"]);
}

#[test]
fn graceful_then_at_once_while_the_agent_is_created() {
    let mut bench = spawning();
    bench.stop().does(&["close listeners"]);
    bench.stop_at_once().does_nothing();
    bench.spawned("agent").does(&["kill agent"]);
}

#[test]
fn while_the_agent_boots() {
    let mut bench = spawning();
    bench.spawned("agent").whatever();
    bench.stop().does(&["close listeners", "drain agent 30s"]);
    bench.ready("agent").does_nothing();
    assert!(
        bench.patience() > Some(AGENT_START),
        "the stop's time holds"
    );
    bench.exits("agent", 0).does(&["exit 0"]);
}

#[test]
fn while_the_agent_boots_and_does_not_leave() {
    let mut bench = spawning();
    bench.spawned("agent").whatever();
    bench.stop().whatever();
    bench.due_after(DRAIN + KILL_AFTER).does(&["kill agent"]);
    bench.is_killed("agent").does(&["exit 0"]);
}

#[test]
fn while_workers_are_created_the_agent_waits_for_them() {
    let mut bench = spawning();
    bench.becomes_ready("agent").whatever();
    bench.stop().does(&["close listeners"]);
    bench.spawned("w1").does(&["drain w1 30s"]);
    bench.spawn_fails("w0").does_nothing();
    bench.exits("w1", 0).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 0"]);
}

#[test]
fn at_once_while_workers_are_created() {
    let mut bench = spawning();
    bench.becomes_ready("agent").whatever();
    bench
        .stop_at_once()
        .does(&["close listeners", "kill agent"]);
    bench.is_killed("agent").does_nothing();
    bench.spawn_fails("w1").does_nothing();
    bench.spawned("w0").does(&["kill w0"]);
    bench.is_killed("w0").does(&["exit 0"]);
}

#[test]
fn while_workers_boot() {
    let mut bench = Bench::booting(2);
    bench.ready("w0").whatever();
    bench
        .stop()
        .does(&["close listeners", "drain w0 30s", "drain w1 30s"]);
    bench.ready("w1").does_nothing();
    bench.exits("w1", 0).does_nothing();
    bench.exits("w0", 0).does(&["drain agent 30s"]);
}

#[test]
fn between_listen_and_its_answer() {
    for answer in [Bench::listening, Bench::listen_fails] {
        let mut bench = Bench::ready_to_listen(1);
        bench.stop().does(&["close listeners", "drain w0 30s"]);
        answer(&mut bench).does_nothing();
        bench.exits("w0", 0).does(&["drain agent 30s"]);
        bench.exits("agent", 0).does(&["exit 0"]);
    }
}

#[test]
fn a_failure_that_comes_after_the_stop_does_not_change_its_code() {
    let mut bench = Bench::booting(2);
    bench.stop().whatever();
    bench.hook_fails("w0").does_nothing();
    bench.exits("w0", 1).does_nothing();
    bench.exits("w1", 0).whatever();
    bench.exits("agent", 0).does(&["exit 0"]);
}
