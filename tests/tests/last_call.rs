//! A stop in every strategy: whoever has connected is served, and whoever is told to go loses nothing.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::ErrorKind;

use hatchery_tests::event::count;
use hatchery_tests::held::Held;
use hatchery_tests::process::kill;
use hatchery_tests::{Crowd, Traffic, each_strategy, playground, step};
use rustix::process::Signal;

fn stopped_under_load(strategy: &str) {
    let cluster = playground!()
        .workers(3)
        .strategy(strategy)
        .flag("--lame-duck", "4s")
        .start();
    let traffic = Traffic::begin(cluster.address(), 24);
    traffic.expect_answers(500);
    cluster.signal(Signal::TERM);
    for failure in traffic.end_with_the_service() {
        // A connection that nobody has accepted when its socket is closed is reset by the kernel.
        let late = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
        assert!(
            failure.worker.is_none() && late.contains(&failure.error.kind()),
            "{failure:?}"
        );
    }
    cluster.expect_exit().expect_code(0);
}

each_strategy!(a_stop_under_load_fails_no_request => stopped_under_load);

/// The moment of egg-ready takes long enough for clients to come, and ends in a stop.
fn stopped_at_once(strategy: &str) {
    let cluster = playground!()
        .workers(2)
        .strategy(strategy)
        .worker_start("slow:300")
        .only_slot(1)
        .launch();
    // One that is ready before the other, and has not heard of it yet.
    cluster.wait(step("worker-spawned").slot(1));
    kill(cluster.worker(1), Signal::STOP);
    cluster.wait(step("worker-ready").slot(0));
    assert_eq!(count(&cluster.events(), "egg-ready"), 0);
    kill(cluster.worker(0), Signal::STOP);
    kill(cluster.worker(1), Signal::CONT);
    cluster.wait("egg-ready");
    kill(cluster.worker(1), Signal::STOP);
    let mut crowd = Crowd::gather(&cluster, 50);
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    for slot in [0, 1] {
        kill(cluster.worker(slot), Signal::CONT);
    }
    crowd.answers();
    drop(crowd);
    cluster.expect_exit().expect_code(0);
}

each_strategy!(whoever_came_in_the_first_moment_is_served_in_a_stop => stopped_at_once);

fn stopped_while_clients_wait(strategy: &str) {
    let cluster = playground!()
        .workers(1)
        .strategy(strategy)
        .flag("--max-connections", "1")
        .start();
    let mut inside = cluster.connect();
    inside.whoami().unwrap();
    let mut crowd = Crowd::gather(&cluster, 200);
    cluster.signal(Signal::TERM);
    crowd.answers();
    drop((crowd, inside));
    cluster.expect_exit().expect_code(0);
}

each_strategy!(whoever_waits_for_room_is_served_in_a_stop => stopped_while_clients_wait);

/// A replacement that never gets ready is no place for a client while there is a better one.
fn stopped_during_a_replacement(strategy: &str) {
    let cluster = playground!()
        .workers(2)
        .strategy(strategy)
        .flag("--max-connections", "1")
        .fragile()
        .start();
    cluster.spoil_starts("hang");
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait_nth(step("worker-spawned").slot(1), 2);
    let mut inside = cluster.connect();
    inside.whoami().unwrap();
    let mut crowd = Crowd::gather(&cluster, 100);
    cluster.signal(Signal::TERM);
    crowd.answers();
    drop((crowd, inside));
    cluster.expect_exit().expect_code(0);
}

each_strategy!(nobody_is_left_to_a_worker_that_boots => stopped_during_a_replacement);

/// As on a machine that is too busy.
#[test]
fn a_thread_that_cannot_keep_up_does_not_hold_up_a_stop() {
    let cluster = playground!().workers(2).start();
    let held = Held::thread(cluster.master(), "hatchery-accept");
    cluster.signal(Signal::TERM);
    cluster.wait_nth("draining", 2);
    drop(held);
    cluster.expect_exit().expect_code(0);
}

/// The master waits for that thread and for everything else at once.
#[test]
fn a_second_signal_is_heard_while_clients_are_passed_on() {
    let cluster = playground!().workers(2).start();
    let held = Held::thread(cluster.master(), "hatchery-accept");
    cluster.signal(Signal::TERM);
    cluster.signal(Signal::INT);
    cluster.wait_nth("worker-exited", 2);
    drop(held);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    ended.expect_no("draining");
    for event in &ended.events {
        if event.event.ends_with("-exited") {
            assert!(event.why().contains("signal 9"), "{event:?}");
        }
    }
}
