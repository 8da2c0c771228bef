//! Where nobody is replaced: the end of one is the end of all, in order.

use std::time::Duration;

use hatchery_protocol::exit::ExitKind;

use super::bench::Bench;
use crate::supervisor::{Policy, Status};

fn policy() -> Policy {
    Policy {
        heals: false,
        ..Bench::policy(1)
    }
}

#[test]
fn a_death_of_the_worker_ends_the_agent() {
    let mut bench = Bench::serving_with(policy());
    bench
        .exits("w0", 1)
        .does(&["close listeners", "drain agent 30s"]);
    assert_eq!(
        bench.notes(),
        [
            "worker-exited worker 0: exited with code 1",
            "stopping: worker 0 is gone, and nobody takes its place: exited with code 1",
            "draining agent",
        ]
    );
    bench.exits("agent", 0).does(&["exit 1"]);
}

#[test]
fn a_death_of_the_agent_ends_the_worker() {
    let mut bench = Bench::serving_with(policy());
    bench
        .exits("agent", 0)
        .does(&["close listeners", "drain w0 30s"]);
    bench.exits("w0", 0).does(&["exit 1"]);
}

#[test]
fn it_does_so_while_a_stop_is_announced() {
    let mut bench = Bench::serving_with(Policy {
        pre_stop_delay: Duration::from_secs(9),
        ..policy()
    });
    bench.stop().whatever();
    bench
        .exits("w0", 1)
        .does(&["close listeners", "drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 1"]);
}

#[test]
fn in_a_stop_it_is_a_stop_like_any_other() {
    let mut bench = Bench::serving_with(policy());
    bench.stop().does(&["close listeners", "drain w0 30s"]);
    bench.exits("w0", 1).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 0"]);
}

#[test]
fn a_thread_that_is_left_behind_counts_as_gone() {
    let mut bench = Bench::serving_with(policy());
    bench.stop().whatever();
    bench.stop_at_once().does(&["kill agent", "kill w0"]);
    bench.exit_kinds();
    bench.dies("w0", Status::LeftBehind, &[]).does_nothing();
    assert_eq!(bench.exit_kinds(), [ExitKind::Unknown]);
    assert_eq!(
        bench.notes().last().unwrap(),
        "worker-exited worker 0: the stop was to be at once; left behind, to end with the process"
    );
}
