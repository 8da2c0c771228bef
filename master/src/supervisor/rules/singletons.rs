//! From one agent to the next: what may be done only once is done by one.

use hatchery_protocol::exit::ExitKind;

use super::bench::{Bench, DRAIN, KILL_AFTER};

/// The new agent boots, no worker has been touched.
fn rolling() -> Bench {
    let mut bench = Bench::serving(1);
    bench.notes();
    bench.reload_with_agent(1).does(&["stage 1"]);
    bench.staged(1, 1).does(&["spawn agent.2"]);
    bench
}

/// The new generation is adopted, the old agent was asked to stand down.
fn standing_down() -> Bench {
    let mut bench = rolling();
    bench.becomes_ready("agent.2").does(&["spawn w0.2"]);
    bench.spawned("w0.2").whatever();
    bench.ready("w0.2").does(&[
        "adopt",
        "stand down agent",
        "tell agent agent.2 w0.2: w0.2 up",
        "egg-ready w0.2",
        "drain w0 30s",
    ]);
    bench
}

#[test]
fn a_new_agent_waits_for_the_end_of_the_reload_and_for_the_old_one() {
    let mut bench = standing_down();
    bench.exits("w0", 0).does_nothing();
    bench
        .stood_down("agent")
        .does(&["tell w0.2: agent.2", "egg-ready agent.2", "drain agent 30s"]);
    bench.exits("agent", 0).does(&["order 1: done"]);
}

#[test]
fn an_old_agent_that_does_not_stand_down_is_killed_first() {
    let mut bench = standing_down();
    bench.exits("w0", 0).whatever();
    let done = bench.wait().0;
    assert_eq!(done, ["kill agent", "tell w0.2: no agent"]);
    bench
        .is_killed("agent")
        .does(&["tell w0.2: agent.2", "egg-ready agent.2", "order 1: done"]);
}

#[test]
fn an_old_agent_that_dies_has_stood_down() {
    let mut bench = standing_down();
    bench.exits("w0", 0).whatever();
    bench
        .exits("agent", 1)
        .does(&["tell w0.2: agent.2", "egg-ready agent.2", "order 1: done"]);
}

#[test]
fn who_has_stood_down_for_nothing_is_replaced_by_a_fresh_one() {
    let mut bench = standing_down();
    bench.exits("w0", 0).whatever();
    bench.exits("agent.2", 1).does(&["spawn agent.3"]);
    bench.stood_down("agent").does_nothing();
    bench.becomes_ready("agent.3").does(&[
        "tell w0.2: agent.3",
        "egg-ready agent.3",
        "drain agent 30s",
    ]);
}

#[test]
fn a_new_agent_that_fails_ends_the_reload_before_a_worker_is_touched() {
    let mut bench = rolling();
    bench.spawned("agent.2").whatever();
    bench.exits("agent.2", 1).does(&[
        "unstage",
        "order 1: agent failed to start: exited with code 1",
    ]);
}

#[test]
fn a_failed_worker_sends_the_waiting_agent_away() {
    let mut bench = rolling();
    bench.becomes_ready("agent.2").whatever();
    bench.spawned("w0.2").whatever();
    bench.exits("w0.2", 1).does(&["drain agent.2 30s"]);
    bench.exits("agent.2", 0).does(&[
        "unstage",
        "order 1: worker 0 failed to start: exited with code 1",
    ]);
}

#[test]
fn an_agent_that_dies_in_the_middle_is_replaced_while_the_new_one_waits() {
    let mut bench = rolling();
    bench.becomes_ready("agent.2").whatever();
    bench
        .exits("agent", 1)
        .does(&["spawn agent.3", "tell w0 w0.2: no agent"]);
    bench
        .becomes_ready("agent.3")
        .does(&["tell w0 w0.2: agent.3", "egg-ready agent.3"]);
}

#[test]
fn nobody_stands_down_unasked() {
    let mut bench = Bench::serving(1);
    bench.stood_down("agent").does_nothing();
    bench.exits("agent", 1).whatever();
    bench.stood_down("agent").does_nothing();
}

/// It has the stop's time for everything.
#[test]
fn an_agent_that_stands_down_is_not_pressed_in_a_stop() {
    let mut bench = standing_down();
    bench.stop().whatever();
    assert_eq!(bench.patience(), Some(DRAIN + KILL_AFTER));
}

#[test]
fn who_was_killed_for_being_in_the_way_did_not_crash() {
    let mut bench = standing_down();
    bench.exits("w0", 0).whatever();
    bench.wait().whatever();
    bench.exit_kinds();
    bench.is_killed("agent").whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::Replaced]);
    // The first death, and not the second in a row.
    bench
        .exits("agent.2", 1)
        .does(&["spawn agent.3", "tell w0.2: no agent"]);
}

#[test]
fn a_fresh_agent_that_fails_is_tried_again_more_slowly() {
    let mut bench = Bench::serving(1);
    bench.upgrade(1).whatever();
    bench.successor_is_ready().whatever();
    bench.stood_down("agent").does(&["commit"]);
    let done = bench.successor_is_gone().0;
    assert_eq!(done.last().unwrap(), "spawn agent.2");
    bench.spawned("agent.2").whatever();
    bench.exits("agent.2", 1).does(&["spawn agent.3"]);
    bench.spawned("agent.3").whatever();
    bench.exits("agent.3", 1).does_nothing();
    bench.wait().does(&["spawn agent.4"]);
}
