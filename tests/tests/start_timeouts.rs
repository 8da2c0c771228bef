//! Starts that take too long: what is said of them, and whose fault it is.
//!
//! A process notices most of them itself; the master is there for one that cannot. It tells one that stands still
//! in its `start` from one that never came so far: whose disk does not answer, say, or whose `main` waits.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::PathBuf;

use hatchery_tests::event::count;
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Ended, Event, Plan, playground, step};
use rustix::process::Signal;

const TIMEOUT: &str = "2s";

/// In this plan a process of the role that the file holds hangs in the first line of `main`.
fn mute_file(plan: &Plan) -> PathBuf {
    plan.path("mute")
}

fn plan(role: &str) -> Plan {
    let plan = playground!().flag(&format!("--{role}-start-timeout"), TIMEOUT);
    let file = mute_file(&plan);
    plan.env("PLAYGROUND_MUTE_FILE", file)
}

fn mute(plan: &Plan, role: &str) {
    fs::write(mute_file(plan), role).unwrap();
}

fn mend(plan: &Plan) {
    fs::remove_file(mute_file(plan)).unwrap();
}

fn never_began(hook: &str) -> [String; 2] {
    let what = format!("it did not get as far as {hook} within its start timeout and was killed");
    let advice =
        "look at the disk that it is loaded from, and at what `main` does before `App::run`";
    [what, advice.to_owned()]
}

#[track_caller]
fn expect_timeout(exited: &Event, words: &[&str]) {
    assert_eq!(exited.exit.as_deref(), Some("start-timeout"), "{exited:?}");
    for word in words {
        assert!(exited.why().contains(word), "no `{word}` in {exited:?}");
    }
}

#[track_caller]
fn start_fails(ended: &Ended, role: &str, words: &[&str]) {
    ended
        .expect_code(3)
        .expect_stderr(words)
        .expect_no("egg-ready");
    let name = format!("{role}-exited");
    let mut exits = ended.events.iter().filter(|event| event.event == name);
    let first = exits.next().unwrap();
    expect_timeout(first, words);
}

fn mute_at_the_start(role: &str, hook: &str) -> Ended {
    let plan = plan(role);
    mute(&plan, role);
    let ended = plan.run_to_end();
    let words = never_began(hook);
    start_fails(&ended, role, &words.each_ref().map(String::as_str));
    ended
}

#[test]
fn a_worker_that_never_said_a_word_ends_the_start() {
    let ended = mute_at_the_start("worker", "Worker::start");
    assert!(ended.trace.iter().all(|hook| hook.role == "agent"));
}

#[test]
fn an_agent_that_never_said_a_word_ends_the_start() {
    let ended = mute_at_the_start("agent", "Agent::start");
    ended.expect_no("worker-spawned");
    assert!(ended.trace.is_empty());
}

/// It was the author's `start` that hung, whoever noticed: the process itself, or the master where it could not.
#[test]
fn a_start_that_hangs_is_not_said_never_to_have_begun() {
    for (fault, words) in [
        ("hang", "Worker::start did not finish within 2s"),
        (
            "block:3600000",
            "Worker::start did not finish within its start timeout and was killed",
        ),
    ] {
        let ended = plan("worker").worker_start(fault).run_to_end();
        start_fails(&ended, "worker", &[words]);
    }
    let ended = plan("agent").agent_start("hang").run_to_end();
    start_fails(&ended, "agent", &["Agent::start did not finish within 2s"]);
}

/// What ends in another way in its `start` has not timed out.
#[test]
fn a_start_that_fails_is_no_start_timeout() {
    let ended = plan("agent").agent_start("fail").run_to_end();
    let exits = ended.events.iter();
    let kinds: Vec<_> = exits.filter_map(|event| event.exit.as_deref()).collect();
    assert_eq!(kinds, ["code"]);
}

#[test]
fn a_replacement_that_never_said_a_word_is_killed_and_tried_again() {
    let cluster = plan("worker").start();
    mute(cluster.plan(), "worker");
    let mark = cluster.mark();
    kill(cluster.worker(1), Signal::KILL);
    let exited = cluster.wait_nth(step("worker-exited").slot(1), 2);
    let words = never_began("Worker::start");
    expect_timeout(&exited, &words.each_ref().map(String::as_str));
    cluster.expect_status("the slot tells why", |status| {
        let worker = &status["workers"][1];
        worker["last_exit_kind"] == "start-timeout"
            && worker["last_exit"]
                .to_string()
                .contains("did not get as far")
    });
    let (_, other) = cluster.connect_to(0);
    assert_eq!(other.pid, cluster.worker(0), "slot 0 serves all the while");
    mend(cluster.plan());
    cluster.wait_since(mark, step("worker-replaced").slot(1));
    cluster.stop();
}

#[track_caller]
fn as_before(cluster: &Cluster, pids: &[u64]) {
    assert_eq!(cluster.worker_pids(), pids);
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect("nobody of the new generation is left", || {
        cluster.survivors().list().len() == 4
    });
}

#[test]
fn a_reload_and_an_upgrade_to_what_never_says_a_word_fail_and_change_nothing() {
    let cluster = plan("worker").upgradable().start();
    let before = cluster.worker_pids();
    mute(cluster.plan(), "worker");
    let words = never_began("Worker::start");
    let words = words.each_ref().map(String::as_str);
    cluster.expect_failed(&cluster.verb(&["reload"]), &words);
    as_before(&cluster, &before);
    cluster.fail_upgrade(&words);
    as_before(&cluster, &before);
    mend(cluster.plan());
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    cluster.upgrade();
    assert_eq!(count(&cluster.events(), "reload-failed"), 1);
    cluster.stop();
}
