//! More workers and fewer, by command and by signal, and no client notices.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use hatchery_tests::{Cluster, Traffic, each_strategy, http, playground};
use rustix::process::Signal;

fn workers(cluster: &Cluster) -> usize {
    cluster.worker_pids().len()
}

#[track_caller]
fn scale(cluster: &Cluster, to: &str, expected: usize) {
    let ran = cluster.verb(&["scale", to]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(workers(cluster), expected, "scale {to}");
    cluster.expect("there are no others", || {
        cluster.survivors().list().len() == expected + 2
    });
}

/// Up and down and up again, under clients who stay and clients who come anew.
fn under_load(strategy: &str) {
    let cluster = playground!()
        .workers(2)
        .strategy(strategy)
        .flag("--lame-duck", "1s")
        .start();
    let traffic = Traffic::of(cluster.address(), 32, 32);
    for (to, expected) in [("6", 6), ("1", 1), ("4", 4), ("+1", 5), ("-1", 4), ("3", 3)] {
        scale(&cluster, to, expected);
        traffic.expect_answers(128);
    }
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    cluster.stop();
}

each_strategy!(no_request_fails => under_load);

/// New slots are served by their own workers, and gone ones by nobody.
fn everybody_works(strategy: &str) {
    let cluster = playground!().workers(2).strategy(strategy).start();
    scale(&cluster, "4", 4);
    for slot in 0..4 {
        assert_eq!(cluster.connect_to(slot).1.slot, slot);
    }
    scale(&cluster, "2", 2);
    for _ in 0..64 {
        let who = http::connect(cluster.address()).unwrap().whoami().unwrap();
        assert!(who.slot < 2, "{who:?}");
    }
    cluster.stop();
}

each_strategy!(new_slots_work => everybody_works; round_robin: "round-robin",
    least_connections: "least-connections", shared: "shared", reuse_port: "reuse-port");

#[test]
fn signals_count_up_and_down_and_never_to_none() {
    let cluster = playground!().workers(2).flag("--lame-duck", "0s").start();
    for expected in [3, 4] {
        cluster.signal(Signal::TTIN);
        cluster.expect_status("one more", |status| {
            status["workers"].as_array().unwrap().len() == expected
        });
    }
    for expected in [3, 2, 1] {
        cluster.signal(Signal::TTOU);
        cluster.expect_status("one less", |status| {
            status["workers"].as_array().unwrap().len() == expected
        });
    }
    cluster.signal(Signal::TTOU);
    // Whatever came of that came before this answer.
    assert_eq!(workers(&cluster), 1);
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(workers(&cluster), 1);
    cluster.stop();
}

#[test]
fn the_highest_slots_go_and_the_others_are_left_alone() {
    let cluster = playground!().workers(4).start();
    let before = cluster.worker_pids();
    scale(&cluster, "2", 2);
    assert_eq!(cluster.worker_pids(), before.get(..2).unwrap());
    scale(&cluster, "3", 3);
    assert_eq!(cluster.worker_pids().get(..2), before.get(..2));
    cluster.stop();
}

#[test]
fn a_reload_keeps_what_was_scaled() {
    let cluster = playground!().workers(2).own_copy().start();
    scale(&cluster, "3", 3);
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(workers(&cluster), 3);
    cluster.stop();
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let cluster = playground!().start();
    for to in ["0", "1025", "many", "-2", "+0", ""] {
        let ran = cluster.verb(&["scale", to]);
        assert_eq!(ran.code, Some(2), "{to}: {ran:?}");
        assert!(ran.stderr.contains("1 to 1024"), "{ran:?}");
    }
    assert_eq!(workers(&cluster), 2);
    cluster.stop();
}

#[test]
fn scaling_what_does_not_run_says_so() {
    let ran = playground!().run_verb(&["scale", "3"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
}
