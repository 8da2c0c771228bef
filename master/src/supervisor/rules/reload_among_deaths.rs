//! A reload of a cluster in which processes have died, or are about to.

use hatchery_protocol::control::ClusterState;

use super::bench::Bench;
use crate::supervisor::{Policy, Scale};

#[test]
fn a_proven_build_is_not_held_to_the_deaths_of_the_old_one() {
    let mut bench = Bench::serving(3);
    bench.exits("w2", 1).whatever();
    bench.spawned("w2.2").whatever();
    bench.exits("w2.2", 1).does_nothing();
    bench.reload(1).whatever();
    bench.staged(1, 3).does(&["spawn w0.2"]);
    let done = bench.becomes_ready("w0.2").0;
    // The empty slot beside the surge.
    assert_eq!(done.get(..2).unwrap(), ["spawn w2.3", "spawn w1.2"]);
}

/// That it has failed is known when it is gone.
#[test]
fn nobody_follows_a_first_one_that_is_failing() {
    let mut bench = Bench::serving_with(Policy {
        surge: 2,
        ..Bench::policy(2)
    });
    bench.reload(1).whatever();
    bench.staged(1, 2).does(&["spawn w0.2"]);
    bench.spawned("w0.2").does_nothing();
    bench.hook_fails("w0.2").does_nothing();
    bench.tick().does_nothing();
}

#[test]
fn a_build_that_fails_is_nobodys_crash_loop() {
    let mut bench = Bench::serving(1);
    for (order, name) in (1..).zip(["w0.2", "w0.3", "w0.4", "w0.5"]) {
        bench.reload(order).whatever();
        bench.staged(order, 1).does(&[&format!("spawn {name}")]);
        bench.spawned(name).whatever();
        bench.exits(name, 1).whatever();
        assert_eq!(bench.state(), ClusterState::Ready);
    }
}

/// The agent that was in a loop is killed because it does not stand down.
#[test]
fn a_crash_loop_is_over_when_somebody_is_well_and_not_before() {
    let mut bench = Bench::serving(1);
    bench.exits("agent", 1).whatever();
    for name in ["agent.2", "agent.3"] {
        bench.spawned(name).whatever();
        bench.exits(name, 1).whatever();
        bench.wait().whatever();
    }
    bench.becomes_ready("agent.4").whatever();
    bench.reload_with_agent(1).whatever();
    bench.staged(1, 1).does(&["spawn agent.5"]);
    bench.becomes_ready("agent.5").whatever();
    bench.becomes_ready("w0.2").whatever();
    bench.exits("w0", 0).whatever();
    bench.wait().does(&["kill agent.4", "tell w0.2: no agent"]);
    bench.is_killed("agent.4").whatever();
    assert_eq!(bench.state(), ClusterState::Degraded);
}

/// It leaves its slot, and was never ready: what becomes of it belongs to the reload.
#[test]
fn a_new_one_that_is_sent_away_is_gone_before_the_reload_is_decided() {
    let mut bench = Bench::serving(2);
    bench.reload(1).whatever();
    bench.staged(1, 2).does(&["spawn w0.2"]);
    bench.becomes_ready("w0.2").whatever();
    bench.spawned("w1.2").whatever();
    let done = bench.scale(2, Scale::To(1)).0;
    assert!(!done.contains(&"adopt".to_owned()), "{done:?}");
    let done = bench.exits("w1.2", 0).0;
    assert_eq!(done.first().unwrap(), "adopt");
}

#[test]
fn a_new_agent_that_is_failing_is_not_adopted() {
    let mut bench = Bench::serving(1);
    bench.reload_with_agent(1).whatever();
    bench.staged(1, 1).does(&["spawn agent.2"]);
    bench.becomes_ready("agent.2").does(&["spawn w0.2"]);
    bench.hook_fails("agent.2").does_nothing();
    let done = bench.becomes_ready("w0.2").0;
    assert!(!done.contains(&"adopt".to_owned()), "{done:?}");
    let done = bench.exits("agent.2", 1).0;
    assert!(!done.contains(&"adopt".to_owned()), "{done:?}");
}

#[test]
fn who_asked_for_the_agent_while_others_waited_gets_it() {
    let mut bench = Bench::serving(1);
    bench.reload(1).whatever();
    bench.reload(2).does_nothing();
    bench.reload_with_agent(3).does_nothing();
    bench
        .stage_fails(1)
        .does(&["order 1: no such file", "stage 2"]);
    bench.staged(2, 1).does(&["spawn agent.2"]);
}

#[test]
fn what_is_staged_for_somebody_else_is_not_rolled_out() {
    let mut bench = Bench::serving(1);
    bench.reload(1).does(&["stage 1"]);
    bench.staged(2, 1).does_nothing();
    bench.staged(1, 1).does(&["spawn w0.2"]);
}
