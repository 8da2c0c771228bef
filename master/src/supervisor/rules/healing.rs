//! After egg-ready, whatever dies is replaced, and nothing else is touched.

use std::time::Duration;

use hatchery_protocol::control::{ChildState, ClusterState};
use hatchery_protocol::id::Seat;

use super::bench::{AGENT_START, Bench, DRAIN, KILL_AFTER, MARGIN, STABLE, WORKER_START};

/// The full wait after the `deaths`-th death in a row; up to a tenth is taken off.
fn full_wait(deaths: i32) -> f64 {
    (0.5 * 1.5f64.powi(deaths - 2)).min(30.0)
}

#[track_caller]
fn assert_waits(bench: &Bench, deaths: i32) {
    let wait = bench.patience().expect("a wait").as_secs_f64();
    let full = full_wait(deaths);
    assert!(
        wait <= full + 1e-6 && wait >= full * 0.9 - 1e-6,
        "{wait} s of {full} s"
    );
}

/// The process of slot 0 dies while it boots, `times` times in a row from its first death on.
fn crash(bench: &mut Bench, times: i32) {
    bench.exits("w0", 1).whatever();
    for nth in 2..=times {
        let name = format!("w0.{nth}");
        bench.spawned(&name).whatever();
        bench.exits(&name, 1).whatever();
        if nth < times {
            bench.wait().does(&[&format!("spawn w0.{}", nth + 1)]);
        }
    }
}

#[test]
fn the_first_death_is_replaced_at_once() {
    let mut bench = Bench::serving(2);
    bench
        .exits("w0", 0)
        .does(&["spawn w0.2", "tell agent w0.2 w1: slot 0 down"]);
    bench
        .exits("agent", 1)
        .does(&["spawn agent.2", "tell w0.2 w1: no agent"]);
}

#[test]
fn a_replacement_hatches_once_by_itself() {
    let mut bench = Bench::serving(1);
    bench.notes();
    bench.exits("w0", 1).whatever();
    bench
        .becomes_ready("w0.2")
        .does(&["tell agent w0.2: w0.2 up", "egg-ready w0.2"]);
    bench.tick().does_nothing();
    assert_eq!(
        bench.notes(),
        [
            "worker-exited worker 0: exited with code 1",
            "worker-spawned worker 0",
            "worker-ready worker 0",
            "worker-replaced worker 0",
        ]
    );
}

#[test]
fn waits_grow_with_deaths_in_a_row_up_to_the_cap() {
    for deaths in 2..=16 {
        let mut bench = Bench::serving(1);
        crash(&mut bench, deaths);
        assert_waits(&bench, deaths);
    }
}

#[test]
fn each_seat_has_a_row_of_its_own() {
    let mut bench = Bench::serving(2);
    crash(&mut bench, 4);
    bench
        .exits("w1", 1)
        .does(&["spawn w1.2", "tell agent w1.2: slot 1 down"]);
    bench
        .exits("agent", 1)
        .does(&["spawn agent.2", "tell w1.2: no agent"]);
    bench.spawned("agent.2").whatever();
    bench.exits("agent.2", 1).does_nothing();
}

#[test]
fn a_process_that_was_ready_for_long_enough_ends_the_row() {
    let mut bench = Bench::serving(1);
    crash(&mut bench, 5);
    bench.wait().does(&["spawn w0.6"]);
    bench.becomes_ready("w0.6").whatever();
    bench.due_after(STABLE).does_nothing();
    bench
        .exits("w0.6", 1)
        .does(&["spawn w0.7", "tell agent w0.7: slot 0 down"]);
}

#[test]
fn a_process_that_was_ready_for_a_moment_does_not() {
    let mut bench = Bench::serving(1);
    crash(&mut bench, 5);
    bench.wait().does(&["spawn w0.6"]);
    bench.becomes_ready("w0.6").whatever();
    bench.pass(STABLE.saturating_sub(Duration::from_millis(1)));
    bench.exits("w0.6", 1).does(&["tell agent: slot 0 down"]);
    assert_waits(&bench, 6);
}

#[test]
fn a_seat_in_a_crash_loop_degrades_the_cluster_until_it_is_stable_again() {
    let mut bench = Bench::serving(2);
    crash(&mut bench, 2);
    assert_eq!(bench.state(), ClusterState::Ready);
    bench.wait().does(&["spawn w0.3"]);
    bench.spawned("w0.3").whatever();
    bench.exits("w0.3", 1).does_nothing();
    assert_eq!(bench.state(), ClusterState::Degraded);
    assert_eq!(bench.seat_state(Seat::Worker(0)), ChildState::Waiting);
    bench.wait().does(&["spawn w0.4"]);
    bench.becomes_ready("w0.4").whatever();
    assert_eq!(bench.state(), ClusterState::Degraded, "it may die again");
    bench.notes();
    bench.due_after(STABLE).does_nothing();
    assert_eq!(bench.notes(), ["recovered worker 0"]);
    assert_eq!(bench.state(), ClusterState::Ready);
    assert_eq!(bench.seat(Seat::Worker(0)).restarts, 3);
}

#[test]
fn a_process_that_cannot_be_created_is_a_death_like_any_other() {
    let mut bench = Bench::serving(2);
    bench.exits("w0", 1).whatever();
    bench.notes();
    bench.spawn_fails("w0.2").does_nothing();
    assert_waits(&bench, 2);
    assert_eq!(
        bench.notes(),
        ["worker-exited worker 0: its process could not be created: out of memory"]
    );
    bench.wait().does(&["spawn w0.3"]);
}

#[test]
fn a_replacement_that_boots_too_long_is_killed_and_replaced() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.due_after(WORKER_START + MARGIN).does(&["kill w0.2"]);
    bench.is_killed("w0.2").does_nothing();
    bench.wait().does(&["spawn w0.3"]);

    bench.exits("agent", 1).whatever();
    bench.spawned("agent.2").whatever();
    bench
        .due_after(AGENT_START + MARGIN)
        .does(&["kill agent.2"]);
    bench.is_killed("agent.2").does_nothing();
    bench.wait().does(&["spawn agent.3"]);
}

#[test]
fn a_replacement_whose_start_failed_leaves_or_is_killed() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.hook_fails("w0.2").does_nothing();
    bench.due_after(KILL_AFTER).does(&["kill w0.2"]);
    bench.is_killed("w0.2").does_nothing();
    assert_waits(&bench, 2);
}

#[test]
fn a_process_whose_hook_failed_at_work_may_finish_its_work() {
    let mut bench = Bench::serving(2);
    bench.hook_fails("w0").does(&["tell agent w1: slot 0 down"]);
    assert_eq!(bench.seat_state(Seat::Worker(0)), ChildState::Draining);
    bench.due_after(DRAIN + KILL_AFTER).does(&["kill w0"]);
    bench.is_killed("w0").does(&["spawn w0.2"]);
    let cause = "a hook failed: no database; killed by signal 9 (SIGKILL)";
    let last_exit = bench.seat(Seat::Worker(0)).last_exit;
    assert_eq!(last_exit.as_deref(), Some(cause));
}

/// One process in a seat: the new one waits until the old one is gone.
#[test]
fn a_killed_process_is_replaced_when_it_is_gone() {
    let mut bench = Bench::serving(1);
    bench
        .link_breaks("w0")
        .does(&["kill w0", "tell agent: slot 0 down"]);
    bench.tick().does_nothing();
    assert_eq!(bench.patience(), None, "its exit is what is waited for");
    bench.is_killed("w0").does(&["spawn w0.2"]);
}

#[test]
fn a_process_that_says_ready_twice_is_killed_and_replaced() {
    let mut bench = Bench::serving(1);
    bench
        .ready("w0")
        .does(&["kill w0", "tell agent: slot 0 down"]);
    bench.is_killed("w0").does(&["spawn w0.2"]);
    bench
        .ready("agent")
        .does(&["kill agent", "tell w0.2: no agent"]);
    bench.is_killed("agent").does(&["spawn agent.2"]);
}

#[test]
fn the_first_cause_known_is_the_one_told() {
    let mut bench = Bench::serving(1);
    bench.link_breaks("w0").whatever();
    bench.hook_fails("w0").does_nothing();
    bench.is_killed("w0").whatever();
    let last_exit = bench.seat(Seat::Worker(0)).last_exit.unwrap();
    assert!(last_exit.starts_with("it wrote nonsense"), "{last_exit}");
}
