//! The order of a start: agent, workers, addresses, egg-ready.

use hatchery_protocol::id::Seat;

use super::bench::Bench;
use crate::supervisor::{Scale, Supervisor};

#[test]
fn no_worker_is_spawned_before_the_agent_is_ready() {
    let mut bench = Bench::new(2);
    bench.started().does(&["spawn agent"]);
    bench.tick().does_nothing();
    bench.spawned("agent").does_nothing();
    bench.tick().does_nothing();
    bench
        .ready("agent")
        .does(&["spawn w0", "spawn w1", "tell w0 w1: agent"]);
}

#[test]
fn nothing_happens_before_the_addresses_are_bound() {
    let mut bench = Bench::new(2);
    bench.tick().does_nothing();
    bench.listening().does_nothing();
    assert_eq!(bench.patience(), None);
}

#[test]
fn addresses_listen_only_when_everybody_is_ready() {
    let mut bench = Bench::booting(3);
    bench.ready("w2").does(&["tell agent: w2 up"]);
    bench.ready("w0").does(&["tell agent: w0 up"]);
    bench.tick().does_nothing();
    bench.ready("w1").does(&["tell agent: w1 up", "listen"]);
    bench.tick().does_nothing();
}

#[test]
fn egg_ready_reaches_everybody_once_and_after_listening() {
    let mut bench = Bench::ready_to_listen(2);
    bench.listening().does(&[
        "tell w0 w1: w0 up, w1 up",
        "egg-ready agent",
        "egg-ready w0",
        "egg-ready w1",
    ]);
    bench.tick().does_nothing();
    bench.listening().does_nothing();
    let notes = bench.notes();
    assert_eq!(notes.iter().filter(|n| *n == "egg-ready").count(), 1);
}

#[test]
fn a_cluster_that_serves_has_nothing_to_wait_for() {
    assert_eq!(Bench::serving(3).patience(), None);
}

#[test]
fn every_step_of_a_start_has_a_name() {
    assert_eq!(
        Bench::serving(1).notes(),
        [
            "master-started",
            "agent-spawned agent",
            "agent-ready agent",
            "worker-spawned worker 0",
            "worker-ready worker 0",
            "egg-ready",
        ]
    );
}

#[test]
fn a_master_that_takes_over_counts_on_and_keeps_the_number_of_workers() {
    let mut bench = Bench::new(2);
    let new = Supervisor::new(Bench::policy(2));
    bench.supervisor = new.counting_from(7).beginning_with(3);
    bench.started().whatever();
    bench.becomes_ready("agent").does(&[
        "spawn w0",
        "spawn w1",
        "spawn w2",
        "tell w0 w1 w2: agent",
    ]);
    for name in ["w0", "w1", "w2"] {
        bench.becomes_ready(name).whatever();
    }
    bench.listening().whatever();
    assert_eq!(bench.supervisor.wanted_workers(), 3);
    assert_eq!(bench.seat(Seat::Worker(2)).generation, 7);
    bench.scale(1, Scale::Up).does(&["slots 4"]);
}
