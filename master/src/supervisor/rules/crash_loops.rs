//! Slots whose processes die again and again: made known, never given up.

use std::time::Duration;

use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::Seat;

use super::bench::{Bench, STABLE};
use crate::supervisor::{Policy, Recycle, Status};

/// The third death in a row.
fn looping(policy: Policy) -> (Bench, Vec<String>) {
    let mut bench = Bench::serving_with(policy);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.exits("w0.2", 1).whatever();
    bench.wait().does(&["spawn w0.3"]);
    bench.spawned("w0.3").whatever();
    bench.notes();
    let done = bench.exits("w0.3", 1).0;
    (bench, done)
}

/// Two deaths in a row, and then a process that is well for as long as that takes.
fn well_after_two_deaths(policy: Policy) -> Bench {
    let mut bench = Bench::serving_with(policy);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.exits("w0.2", 1).whatever();
    bench.wait().does(&["spawn w0.3"]);
    bench.becomes_ready("w0.3").whatever();
    bench.pass(STABLE);
    bench
}

fn recycling() -> Policy {
    Policy {
        recycle: Recycle {
            max_requests: 100,
            ..Recycle::default()
        },
        ..Bench::policy(1)
    }
}

#[test]
fn the_third_death_in_a_row_is_made_known_once_and_so_is_the_end_of_it() {
    let (mut bench, done) = looping(Bench::policy(1));
    assert!(done.is_empty(), "{done:?}");
    let degraded = "degraded worker 0: 3 deaths in a row; the last: exited with code 1";
    assert_eq!(bench.notes().last().unwrap(), degraded);
    bench.wait().does(&["spawn w0.4"]);
    bench.spawned("w0.4").whatever();
    bench.notes();
    bench.exits("w0.4", 1).whatever();
    assert_eq!(bench.notes().len(), 1, "only the exit");
    bench.wait().does(&["spawn w0.5"]);
    bench.becomes_ready("w0.5").whatever();
    bench.notes();
    bench.due_after(STABLE).does_nothing();
    assert_eq!(bench.notes(), ["recovered worker 0"]);
}

#[test]
fn who_asked_for_it_sees_the_whole_cluster_end() {
    let (mut bench, done) = looping(Policy {
        exit_on_crash_loop: true,
        ..Bench::policy(2)
    });
    assert_eq!(done, ["close listeners", "drain w1 30s"]);
    bench.exits("w1", 0).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 3"]);
}

#[test]
fn every_end_has_a_kind() {
    let mut bench = Bench::serving(1);
    let mut kind = |status: Status| {
        bench.dies("w0", status, &[]).whatever();
        bench.seat(Seat::Worker(0)).last_exit_kind
    };
    assert_eq!(kind(Status::Code(0)), Some(ExitKind::Orderly));
    let ends = [
        (Status::Code(1), ExitKind::Code),
        (Status::Code(110), ExitKind::LostLink),
        (Status::Signal(9), ExitKind::Signal),
        (Status::Unknown, ExitKind::Unknown),
    ];
    for (status, expected) in ends {
        let mut bench = Bench::serving(1);
        bench.dies("w0", status, &[]).whatever();
        let kind = bench.seat(Seat::Worker(0)).last_exit_kind;
        assert_eq!(kind, Some(expected));
    }
    let mut bench = Bench::serving(1);
    bench.link_breaks("w0").whatever();
    bench.is_killed("w0").whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::LostLink]);
    bench.spawn_fails("w0.2").whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::SpawnFailed]);
}

/// A process watches its own hooks; the master is there for the one that cannot. It is one kind of end.
#[test]
fn a_start_that_takes_too_long_has_its_kind_whoever_notices() {
    let mut bench = Bench::serving(1);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench.exit_kinds();
    bench.hook_times_out("w0.2").does_nothing();
    bench.exits("w0.2", 1).whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::StartTimeout]);
    // Another way to fail is none of time.
    bench.wait().whatever();
    bench.spawned("w0.3").whatever();
    bench.hook_fails("w0.3").does_nothing();
    bench.exits("w0.3", 1).whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::Code]);
    // Nor is a later hook its start.
    let mut bench = Bench::serving(1);
    bench.hook_times_out("w0").whatever();
    bench.exits("w0", 1).whatever();
    assert_eq!(bench.exit_kinds(), [ExitKind::Code]);
}

#[test]
fn a_death_after_being_well_for_long_enough_begins_a_new_row() {
    let mut bench = well_after_two_deaths(Bench::policy(1));
    bench
        .exits("w0.3", 1)
        .does(&["spawn w0.4", "tell agent w0.4: slot 0 down"]);
}

#[test]
fn who_was_well_until_another_one_took_its_place_ends_the_row_too() {
    let mut bench = well_after_two_deaths(recycling());
    bench
        .beats("w0.3", Duration::ZERO, 100)
        .does(&["spawn w0.4"]);
    bench.becomes_ready("w0.4").whatever();
    bench
        .exits("w0.4", 1)
        .does(&["spawn w0.5", "tell agent w0.5: slot 0 down"]);
}

#[test]
fn a_slot_that_recovered_begins_a_new_row() {
    let (mut bench, _) = looping(recycling());
    bench.wait().does(&["spawn w0.4"]);
    bench.becomes_ready("w0.4").whatever();
    bench.due_after(STABLE).does_nothing();
    bench
        .beats("w0.4", Duration::ZERO, 100)
        .does(&["spawn w0.5"]);
    bench.spawned("w0.5").whatever();
    bench.exits("w0.5", 1).does(&["spawn w0.6"]);
}
