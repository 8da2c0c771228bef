//! A stop that is announced first: load balancers see it and turn away, and until then everything goes on.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hatchery_protocol::clock::millis;
use hatchery_tests::event::count;
use hatchery_tests::http::Response;
use hatchery_tests::process::kill;
use hatchery_tests::wait::{LATE, PATIENCE};
use hatchery_tests::{Cluster, Traffic, each_strategy, http, playground, step};
use rustix::process::Signal;

/// Nobody waits so long.
const FOR_EVER: &str = "1h";

fn readiness(cluster: &Cluster) -> u16 {
    http::get(cluster.address(), "/ready").unwrap().status
}

fn announced_under_load(strategy: &str) {
    let cluster = playground!()
        .workers(2)
        .strategy(strategy)
        .flag("--pre-stop-delay", FOR_EVER)
        .flag("--lame-duck", "4s")
        .start();
    assert_eq!(readiness(&cluster), 200);
    let traffic = Traffic::begin(cluster.address(), 8);
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    assert_eq!(cluster.status()["state"], "stopping");
    cluster.expect("new connections are told to go elsewhere", || {
        readiness(&cluster) == 503
    });
    traffic.expect_answers(500);
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(count(&cluster.events(), "draining"), 0, "it has not begun");
    // By now the clients would be elsewhere.
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:?}");
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    assert_eq!(count(&ended.events, "stopping"), 1);
}

each_strategy!(everything_goes_on_after_a_stop_was_announced => announced_under_load);

#[test]
fn the_stop_begins_when_its_delay_is_over() {
    let cluster = playground!().flag("--pre-stop-delay", "700ms").start();
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    let delay = ended.millis_between("stopping", "draining");
    assert!((700..700 + millis(LATE)).contains(&delay), "{delay} ms");
}

#[test]
fn a_service_manager_is_told_before_anything_else_happens() {
    let plan = playground!().flag("--pre-stop-delay", FOR_EVER);
    let path = plan.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let cluster = plan.env("NOTIFY_SOCKET", path).start();
    cluster.signal(Signal::TERM);
    let told = std::iter::repeat_with(|| {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    });
    let mut told = told.filter(|message| message.lines().any(|line| line == "STOPPING=1"));
    assert!(told.next().is_some());
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(count(&cluster.events(), "draining"), 0);
    cluster.signal(Signal::TERM);
    cluster.expect_exit().expect_code(0);
}

#[test]
fn a_second_signal_skips_the_rest_and_a_third_is_at_once() {
    let cluster = playground!()
        .flag("--pre-stop-delay", FOR_EVER)
        .flag("--drain-timeout", FOR_EVER)
        .flag("--lame-duck", FOR_EVER)
        .start();
    let mut connection = cluster.connect();
    connection.ask("/sleep/3600000").unwrap();
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.signal(Signal::INT);
    cluster.wait(step("draining").role("worker"));
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    assert!(
        ended
            .events
            .iter()
            .any(|event| event.why().contains("signal 9")),
        "somebody was cut off"
    );
    connection.drain();
}

#[test]
fn a_second_command_skips_the_rest() {
    let cluster = playground!().flag("--pre-stop-delay", FOR_EVER).start();
    let output = cluster.plan().path("stop");
    let mut first = cluster.spawn_verb(&["stop"], &output);
    cluster.wait("stopping");
    assert_eq!(cluster.verb(&["stop"]).code, Some(0));
    assert_eq!(first.wait().unwrap().code(), Some(0));
    cluster.expect_exit().expect_code(0);
}

#[test]
fn a_quit_does_not_wait() {
    let cluster = playground!().flag("--pre-stop-delay", FOR_EVER).start();
    cluster.signal(Signal::QUIT);
    cluster
        .expect_exit()
        .expect_code(0)
        .expect_stop_within(Duration::ZERO);
    let cluster = playground!().flag("--pre-stop-delay", FOR_EVER).start();
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    cluster.signal(Signal::QUIT);
    cluster.expect_exit().expect_code(0);
}

#[test]
fn who_dies_meanwhile_is_replaced_and_knows() {
    let cluster = playground!()
        .workers(1)
        .flag("--pre-stop-delay", FOR_EVER)
        .start();
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect("the new one knows, too", || readiness(&cluster) == 503);
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    assert_eq!(cluster.status()["state"], "stopping");
    cluster.signal(Signal::TERM);
    cluster.expect_exit().expect_code(0);
}

#[test]
fn a_worker_that_leaves_alone_is_not_ready_either() {
    let cluster = playground!().workers(1).flag("--lame-duck", "4s").start();
    let mut connection = cluster.connect();
    assert_eq!(connection.get("/ready").unwrap().status, 200);
    kill(cluster.worker(0), Signal::TERM);
    let last = std::iter::repeat_with(|| connection.get("/ready").unwrap()).find(Response::closes);
    assert_eq!(last.unwrap().status, 503);
    cluster.wait(step("worker-replaced").slot(0));
    assert_eq!(readiness(&cluster), 200);
    cluster.stop();
}
