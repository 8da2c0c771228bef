//! Processes that do not answer: diagnosed, killed, replaced. And who must not be taken for one.

use std::time::Duration;

use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::Seat;

use super::bench::{Bench, DRAIN, KILL_AFTER, MARGIN, WORKER_START};
use crate::supervisor::Policy;

const TIMEOUT: Duration = Duration::from_secs(30);
const DIAGNOSIS: Duration = Duration::from_secs(2);
const NOW: Duration = Duration::ZERO;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The agent beats, so that the stories are about the worker.
fn serving() -> Bench {
    let mut bench = Bench::serving_with(Policy {
        worker_timeout: TIMEOUT,
        ..Bench::policy(1)
    });
    bench.pass(seconds(1));
    bench.beats("agent", NOW, 0).whatever();
    bench
}

#[test]
fn a_runtime_that_does_nothing_is_diagnosed_and_killed() {
    let mut bench = serving();
    bench.pass(seconds(19));
    bench.beats("agent", NOW, 0).whatever();
    bench.beats("w0", seconds(15), 0).does_nothing();
    bench.due_after(seconds(15)).does(&["diagnose w0"]);
    bench
        .due_after(DIAGNOSIS)
        .does(&["kill w0", "tell agent: slot 0 down"]);
    assert_eq!(
        bench.notes(),
        ["hung worker 0: its runtime did nothing for 30s"]
    );
    bench.is_killed("w0").does(&["spawn w0.2"]);
    let seat = bench.seat(Seat::Worker(0));
    assert_eq!(seat.last_exit_kind, Some(ExitKind::Hung));
}

#[test]
fn a_process_that_does_not_answer_is_diagnosed_and_killed() {
    let mut bench = serving();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
    assert_eq!(bench.notes(), ["hung worker 0: it did not answer for 30s"]);
    bench.due_after(seconds(1)).does(&["diagnose agent"]);
    bench
        .due_after(seconds(1))
        .does(&["kill w0", "tell agent: slot 0 down"]);
    bench.due_after(seconds(1)).does(&["kill agent"]);
    bench.is_killed("agent").does(&["spawn agent.2"]);
}

#[test]
fn who_comes_to_is_left_alone() {
    let mut bench = serving();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
    bench.beats("w0", seconds(1), 0).does_nothing();
    bench.beats("agent", NOW, 0).does_nothing();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
}

#[test]
fn an_answer_about_a_dead_runtime_is_not_enough() {
    let mut bench = serving();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
    bench.beats("agent", NOW, 0).whatever();
    bench.beats("w0", seconds(30), 0).does_nothing();
    bench
        .due_after(DIAGNOSIS)
        .does(&["kill w0", "tell agent: slot 0 down"]);
}

#[test]
fn a_debugger_excuses() {
    let mut bench = serving();
    bench.pass(seconds(28));
    bench.beats("agent", NOW, 0).whatever();
    bench.is_traced("w0").does_nothing();
    bench
        .due_after(TIMEOUT)
        .does(&["diagnose agent", "diagnose w0"]);
    bench.is_traced("w0").does_nothing();
    bench.is_traced("agent").does_nothing();
    assert_eq!(bench.patience(), Some(TIMEOUT));
}

#[test]
fn a_debugger_gives_time_to_who_boots() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.pass(WORKER_START);
    bench.is_traced("w0.2").does_nothing();
    bench.due_after(KILL_AFTER).does(&["kill w0.2"]);
}

#[test]
fn a_master_that_slept_asks_again() {
    let mut bench = serving();
    bench.skip(seconds(500));
    bench.was_suspended().does_nothing();
    assert_eq!(bench.patience(), Some(TIMEOUT));
}

#[test]
fn a_master_that_slept_gives_time_to_those_that_boot_and_drain() {
    let mut bench = Bench::serving(2);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.hook_fails("w1").whatever();
    bench.skip(seconds(500));
    bench.was_suspended().does_nothing();
    bench.due_after(KILL_AFTER).does(&["kill w0.2", "kill w1"]);
}

#[test]
fn who_boots_is_judged_by_its_start_timeout() {
    let mut bench = serving();
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.pass(seconds(19));
    bench.beats("agent", NOW, 0).whatever();
    let left = (WORKER_START + MARGIN).saturating_sub(seconds(19));
    bench.due_after(left).does(&["kill w0.2"]);
}

#[test]
fn who_leaves_is_judged_by_its_drain() {
    let mut bench = serving();
    bench.hook_fails("w0").whatever();
    bench.pass(seconds(25));
    bench.beats("agent", NOW, 0).whatever();
    let left = (DRAIN + KILL_AFTER).saturating_sub(seconds(25));
    bench.beats("w0", seconds(40), 0).does_nothing();
    bench.due_after(left).does(&["kill w0"]);
}

#[test]
fn zero_is_never() {
    assert_eq!(Bench::serving(2).patience(), None);
}

#[test]
fn what_it_was_found_to_be_doing_is_told_with_its_end() {
    let mut bench = serving();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
    bench.beats("agent", NOW, 0).whatever();
    bench
        .is_diagnosed("w0", "it sleeps in futex_wait")
        .does_nothing();
    bench
        .due_after(DIAGNOSIS)
        .does(&["kill w0", "tell agent: slot 0 down"]);
    bench.is_killed("w0").whatever();
    let told = bench.seat(Seat::Worker(0)).last_exit.expect("an exit");
    let expected = "it did not answer for 30s and was killed; it sleeps in futex_wait; killed by \
                    signal 9 (SIGKILL)";
    assert_eq!(told, expected);
}

#[test]
fn what_it_was_doing_before_it_came_to_is_forgotten() {
    let mut bench = serving();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
    bench
        .is_diagnosed("w0", "it sleeps in futex_wait")
        .does_nothing();
    bench.beats("w0", NOW, 0).does_nothing();
    bench.is_diagnosed("w0", "it is well").does_nothing();
    bench.beats("agent", NOW, 0).whatever();
    bench.pass(seconds(10));
    bench.beats("agent", NOW, 0).whatever();
    bench.due_after(seconds(20)).does(&["diagnose w0"]);
    bench.due_after(DIAGNOSIS).whatever();
    bench.is_killed("w0").whatever();
    let told = bench.seat(Seat::Worker(0)).last_exit.expect("an exit");
    assert!(
        told.starts_with("it did not answer for 30s and was killed; killed"),
        "{told}"
    );
}

#[test]
fn more_patience_counts_for_who_is_suspected_already() {
    let mut bench = serving();
    bench.pass(seconds(28));
    bench.beats("w0", NOW, 0).does_nothing();
    bench.reload(1).whatever();
    let patient = Policy {
        worker_timeout: TIMEOUT * 2,
        ..Bench::policy(1)
    };
    bench.staged_with(1, patient).does(&["spawn w0.2"]);
    bench.spawned("w0.2").whatever();
    bench.due_after(seconds(2)).does(&["diagnose agent"]);
    bench.ready("w0.2").whatever();
    bench.exits("w0", 0).does(&["order 1: done"]);
    assert_eq!(bench.patience(), Some(TIMEOUT));
}

/// The reason that was known first is the one that is told.
#[test]
fn who_hung_ends_as_one_that_did_although_another_has_its_place() {
    let mut bench = serving();
    bench.due_after(seconds(29)).does(&["diagnose w0"]);
    bench.beats("agent", NOW, 0).whatever();
    bench.reload(1).whatever();
    bench.staged(1, 1).does(&["spawn w0.2"]);
    bench.spawned("w0.2").whatever();
    bench
        .due_after(DIAGNOSIS)
        .does(&["kill w0", "tell agent w0.2: slot 0 down"]);
    bench.ready("w0.2").whatever();
    bench.notes();
    bench.is_killed("w0").whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::Hung]);
    let told = bench.notes();
    assert!(
        told.iter().any(|note| note.contains("did not answer")),
        "{told:?}"
    );
}

/// An answer that was under way tells less than what is known already.
#[test]
fn what_is_known_to_have_run_is_not_forgotten() {
    let mut bench = serving();
    bench.pass(seconds(20));
    bench.beats("agent", NOW, 0).whatever();
    bench.beats("w0", seconds(2), 0).does_nothing();
    bench.beats("w0", seconds(15), 0).does_nothing();
    bench.due_after(seconds(28)).does(&["diagnose w0"]);
}
