//! A new master in the place of this one, and every way back.

use std::time::Duration;

use super::bench::{Bench, DRAIN, KILL_AFTER};
use crate::supervisor::{Policy, Scale};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The new master starts.
fn launched() -> Bench {
    let mut bench = Bench::serving_with(Policy {
        upgrade_timeout: seconds(60),
        ..Bench::policy(1)
    });
    bench.upgrade(1).does(&["launch successor 1"]);
    bench
}

/// The new master is ready, the agent here was asked to stand down.
fn standing_down() -> Bench {
    let mut bench = launched();
    bench.successor_is_ready().does(&["stand down agent"]);
    bench
}

fn committed() -> Bench {
    let mut bench = standing_down();
    bench.stood_down("agent").does(&["commit"]);
    bench
}

#[test]
fn everybody_here_finishes_when_the_new_master_serves() {
    let mut bench = committed();
    bench
        .successor_serves()
        .does(&["order 1: done", "hand over listeners", "drain w0 30s"]);
    assert!(bench.is_stopping());
    bench.exits("w0", 0).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 0"]);
    assert_eq!(
        bench.notes().get(..4).unwrap(),
        [
            "upgrade-started: SIGUSR2",
            "standing-down agent",
            "upgrade-finished",
            "stopping: a new master serves",
        ]
    );
}

#[test]
fn a_new_master_that_does_not_come_up_changes_nothing() {
    let mut bench = launched();
    let failed = "order 1: the new master is gone: exited with code 3";
    bench.successor_is_gone().does(&[failed]);
    assert_eq!(bench.patience(), None);
    bench.upgrade(2).does(&["launch successor 2"]);
}

#[test]
fn a_new_master_that_takes_too_long_is_ended() {
    let mut bench = launched();
    bench.due_after(seconds(60)).does(&["end successor"]);
    bench
        .due_after(DRAIN + KILL_AFTER)
        .does(&["kill successor"]);
    bench
        .successor_is_gone()
        .does(&["order 1: the new master was not ready in time"]);
}

/// The agent here never stood down, so nobody else is at its work.
#[test]
fn a_dead_agent_is_replaced_while_a_new_master_that_came_to_nothing_ends() {
    let mut bench = launched();
    bench.due_after(seconds(60)).does(&["end successor"]);
    bench
        .exits("agent", 1)
        .does(&["spawn agent.2", "tell w0: no agent"]);
    bench
        .becomes_ready("agent.2")
        .does(&["tell w0: agent.2", "egg-ready agent.2"]);
}

#[test]
fn an_agent_that_does_not_stand_down_is_killed_before_the_commit() {
    let mut bench = standing_down();
    let done = bench.due_after(seconds(1)).0;
    assert_eq!(done.first().unwrap(), "kill agent");
    bench.is_killed("agent").does(&["commit"]);
    bench.tick().does_nothing();
}

#[test]
fn who_stood_down_for_a_master_that_is_gone_is_replaced_by_a_fresh_one() {
    for stage in [standing_down, committed] {
        let mut bench = stage();
        bench.successor_is_gone().does(&[
            "order 1: the new master is gone: exited with code 3",
            "spawn agent.2",
        ]);
        bench.stood_down("agent").does_nothing();
        bench.becomes_ready("agent.2").does(&[
            "tell w0: agent.2",
            "egg-ready agent.2",
            "drain agent 30s",
        ]);
    }
}

/// The new master's agent may be at work.
#[test]
fn a_committed_master_that_does_not_serve_is_gone_before_an_agent_is_back() {
    let mut bench = committed();
    bench.due_after(seconds(10)).does(&["end successor"]);
    bench.successor_serves().does_nothing();
    bench.exits("agent", 0).does(&["tell w0: no agent"]);
    bench.successor_is_gone().does(&[
        "order 1: the new master did not serve in time",
        "spawn agent.2",
    ]);
}

#[test]
fn a_dead_agent_is_not_replaced_while_the_new_master_takes_over() {
    let mut bench = committed();
    bench.exits("agent", 1).does(&["tell w0: no agent"]);
    bench
        .exits("w0", 1)
        .does(&["spawn w0.2", "tell w0.2: slot 0 down"]);
}

/// It was created before the new master was ready.
#[test]
fn an_agent_that_becomes_ready_meanwhile_waits() {
    let mut bench = launched();
    bench.exits("agent", 1).whatever();
    bench.spawned("agent.2").whatever();
    bench.successor_is_ready().does(&["commit"]);
    bench.ready("agent.2").does(&["tell w0: agent.2"]);
    bench.successor_is_gone().does(&[
        "order 1: the new master is gone: exited with code 3",
        "egg-ready agent.2",
    ]);
}

#[test]
fn meanwhile_nothing_else_is_begun() {
    let mut bench = launched();
    let refusal = "an upgrade is going on";
    bench.upgrade(2).does(&[&format!("order 2: {refusal}")]);
    bench.reload(3).does(&[&format!("order 3: {refusal}")]);
    bench
        .scale(4, Scale::Up)
        .does(&[&format!("order 4: {refusal}")]);
}

#[test]
fn nothing_is_upgraded_in_the_middle_of_something_else() {
    let mut bench = Bench::serving(1);
    bench.reload(1).whatever();
    bench.upgrade(2).does(&["order 2: a reload is going on"]);
    let mut bench = Bench::serving(1);
    bench.scale(1, Scale::Up).whatever();
    bench
        .upgrade(2)
        .does(&["order 2: the number of workers is being changed"]);
    let mut bench = Bench::booting(1);
    bench
        .upgrade(1)
        .does(&["order 1: the application is not ready yet"]);
}

#[test]
fn a_stop_wins_and_ends_the_new_master_too() {
    for stage in [launched, standing_down, committed] {
        let mut bench = stage();
        bench.stop().does(&[
            "close listeners",
            "order 1: the application is stopping",
            "end successor",
            "drain w0 30s",
        ]);
        bench.exits("w0", 0).does(&["drain agent 30s"]);
        bench.exits("agent", 0).does_nothing();
        bench
            .due_after(DRAIN + KILL_AFTER)
            .does(&["kill successor"]);
        bench.successor_is_gone().does(&["exit 0"]);
    }
}

#[test]
fn a_stop_at_once_kills_the_new_master() {
    let mut bench = launched();
    let done = bench.stop_at_once().0;
    assert!(done.contains(&"kill successor".to_owned()), "{done:?}");
    let mut bench = launched();
    bench.stop().whatever();
    let done = bench.stop_at_once().0;
    assert_eq!(done.first().unwrap(), "kill successor");
}

#[test]
fn what_the_new_master_says_out_of_turn_is_not_believed() {
    let mut bench = launched();
    bench.successor_serves().does_nothing();
    let mut bench = Bench::serving(1);
    bench.successor_is_ready().does_nothing();
    bench.successor_serves().does_nothing();
    bench.successor_is_gone().does_nothing();
}

#[test]
fn a_new_master_is_told_once() {
    let mut bench = committed();
    bench.successor_is_ready().does_nothing();
    let mut bench = launched();
    bench.due_after(seconds(60)).does(&["end successor"]);
    bench.stop().does(&[
        "close listeners",
        "order 1: the application is stopping",
        "drain w0 30s",
    ]);
}
