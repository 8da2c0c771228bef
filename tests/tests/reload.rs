//! Reload: every worker is replaced by one of what is on disk now, and no client notices. What cannot be replaced
//! stays what it was, and the command tells why.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hatchery_tests::event::count;
use hatchery_tests::process;
use hatchery_tests::wait::LATE;
use hatchery_tests::{Cluster, Plan, Ran, Traffic, each_strategy, foreigner, playground, step};
use rustix::process::Signal;

const PLAYGROUND: &str = env!("CARGO_BIN_EXE_playground");
/// How often a cluster is reloaded under load, unless `HATCHERY_TESTS_RELOADS` says more.
const ROUNDS: u64 = 3;
/// How long a start may take where it hangs. Elsewhere it takes what it takes.
const START_TIMEOUT: Duration = Duration::from_secs(2);

fn plan() -> Plan {
    playground!()
        .workers(4)
        .own_copy()
        .flag("--lame-duck", "1s")
}

fn rounds() -> u64 {
    let said = std::env::var("HATCHERY_TESTS_RELOADS").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(ROUNDS)
}

/// Sixty-four clients who stay and sixty-four who come anew.
fn load(cluster: &Cluster) -> Traffic {
    Traffic::of(cluster.address(), 64, 64)
}

#[track_caller]
fn expect_no_failures(traffic: Traffic) {
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Every slot has a ready worker of this generation, and there is no other process.
#[track_caller]
fn expect_generation(cluster: &Cluster, generation: u64, workers: usize) {
    let status = cluster.status();
    assert_eq!(status["state"], "ready", "{status}");
    assert_eq!(status["generation"], generation, "{status}");
    let found = status["workers"].as_array().unwrap();
    assert_eq!(found.len(), workers, "{status}");
    for worker in found {
        assert_eq!(worker["generation"], generation, "{status}");
        assert_eq!(worker["state"], "ready", "{status}");
    }
    cluster.expect("there are no others", || {
        cluster.survivors().list().len() == workers + 2
    });
}

fn under_load(strategy: &str) {
    let cluster = plan().strategy(strategy).start();
    let agent = cluster.agent();
    let traffic = load(&cluster);
    for round in 1..=rounds() {
        let before = cluster.worker_pids();
        cluster.deploy(Path::new(PLAYGROUND));
        let ran = cluster.verb(&["reload"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for step in ["reload-started", "worker-ready", "reload-finished"] {
            assert!(ran.stderr.contains(step), "progress is shown: {ran:?}");
        }
        expect_generation(&cluster, round + 1, 4);
        let after = cluster.worker_pids();
        assert!(after.iter().all(|pid| !before.contains(pid)));
        traffic.expect_answers(128);
    }
    expect_no_failures(traffic);
    assert_eq!(cluster.agent(), agent, "the agent stays");
    cluster.stop();
}

each_strategy!(a_reload_under_load_fails_no_request => under_load);

/// A reload that cannot succeed: it is told why, and everything is as it was.
fn broken(spoil: impl FnOnce(&Cluster), words: &[&str]) {
    broken_plan(plan(), spoil, words);
}

/// Returns how long it took to tell.
fn broken_plan(plan: Plan, spoil: impl FnOnce(&Cluster), words: &[&str]) -> Duration {
    let cluster = plan.start();
    let agent = cluster.agent();
    let before = cluster.worker_pids();
    let traffic = load(&cluster);
    spoil(&cluster);
    let begun = Instant::now();
    let ran = cluster.verb(&["reload"]);
    let took = begun.elapsed();
    failed(&ran, words);
    expect_no_failures(traffic);
    assert_eq!(cluster.worker_pids(), before);
    assert_eq!(cluster.agent(), agent);
    assert_eq!(cluster.status()["state"], "ready");
    cluster.expect("nobody is left of it", || {
        cluster.survivors().list().len() == before.len() + 2
    });
    let last = cluster.wait("reload-failed");
    assert!(last.why().contains(words[0]), "{last:?}");
    cluster.stop();
    took
}

#[track_caller]
fn failed(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(7), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
    }
}

macro_rules! broken {
    ($( $name:ident: $spoil:expr => $($word:literal),+; )*) => {
        mod a_broken_reload_changes_nothing {
            use super::*;
            $(
                #[test]
                fn $name() {
                    broken($spoil, &[$($word),+]);
                }
            )*
        }
    };
}

broken! {
    of_a_missing_file: |cluster: &Cluster| fs::remove_file(cluster.plan().program()).unwrap()
        => "there is no ";
    of_a_file_that_may_not_be_run: |cluster: &Cluster| cluster.deploy_bytes(b"\x7fELF", 0o644)
        => "not executable";
    of_a_script: |cluster: &Cluster| cluster.deploy_bytes(b"#!/bin/sh\n", 0o755)
        => "it is a script";
    of_another_format: |cluster: &Cluster| cluster.deploy_bytes(b"MZ and so on and so forth", 0o755)
        => "not an ELF file";
    of_half_a_file: |cluster: &Cluster| {
        let whole = fs::read(PLAYGROUND).unwrap();
        cluster.deploy_bytes(&whole[..64], 0o755);
    } => "not whole";
    of_a_build_that_exits: |cluster: &Cluster| cluster.deploy_fault(Path::new(PLAYGROUND), "exit:1")
        => "exited with code 1";
    of_a_build_that_panics: |cluster: &Cluster| cluster.deploy_fault(Path::new(PLAYGROUND), "panic")
        => "Worker::start panicked", "this was asked for";
    of_a_build_that_fails: |cluster: &Cluster| cluster.deploy_fault(Path::new(PLAYGROUND), "fail")
        => "Worker::start failed", "this was asked for";
    of_another_protocol: |cluster: &Cluster| cluster.deploy(foreigner!())
        => "it speaks protocol 4711";
}

#[test]
fn a_broken_reload_of_a_build_that_hangs_is_told_in_time() {
    let plan = plan().flag("--worker-start-timeout", "2s");
    let hangs = |cluster: &Cluster| cluster.deploy_fault(Path::new(PLAYGROUND), "hang");
    let took = broken_plan(plan, hangs, &["Worker::start did not finish"]);
    assert!(
        took < START_TIMEOUT + Duration::from_secs(2) + LATE,
        "{took:?}"
    );
}

#[test]
fn a_slot_that_fails_later_takes_the_others_back() {
    let cluster = plan().only_slot(2).start();
    let old = cluster.worker_pids();
    let traffic = load(&cluster);
    cluster.deploy_fault(Path::new(PLAYGROUND), "exit:3");
    let ran = cluster.verb(&["reload"]);
    failed(&ran, &["exited with code 3"]);
    expect_no_failures(traffic);
    expect_generation(&cluster, 1, 4);
    let new = cluster.worker_pids();
    assert_eq!(
        (new[2], new[3]),
        (old[2], old[3]),
        "these were never touched"
    );
    // The next one is a generation of its own.
    cluster.mend_build();
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    expect_generation(&cluster, 3, 4);
    cluster.stop();
}

#[test]
fn the_old_worker_serves_until_the_new_one_is_ready() {
    let cluster = plan().workers(1).start();
    let old = cluster.worker(0);
    cluster.deploy_fault(Path::new(PLAYGROUND), "slow:1000");
    cluster.signal(Signal::HUP);
    let new = cluster.wait_nth(step("worker-spawned"), 2).pid.unwrap();
    let mut served = 0;
    while count(&cluster.events(), step("worker-ready").pid(new)) == 0 {
        let (_, who) = cluster.connect_to(0);
        assert!(who.pid == old || count(&cluster.events(), step("worker-ready")) == 2);
        served += 1;
    }
    assert!(served > 0);
    cluster.wait("reload-finished");
    assert_eq!(cluster.connect_to(0).1.pid, new);
    cluster.stop();
}

#[test]
fn a_replacement_is_of_its_generations_build_whatever_is_on_disk() {
    let cluster = plan().start();
    cluster.deploy_fault(Path::new(PLAYGROUND), "exit:1");
    let pid = cluster.worker(0);
    process::kill(pid, Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    cluster.mend_build();
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    cluster.deploy_fault(Path::new(PLAYGROUND), "exit:1");
    let mark = cluster.mark();
    process::kill(cluster.worker(1), Signal::KILL);
    cluster.wait_since(mark, step("worker-replaced").slot(1));
    expect_generation(&cluster, 2, 4);
    cluster.stop();
}

#[test]
fn the_agent_is_replaced_when_asked_for() {
    let cluster = plan().start();
    let agent = cluster.agent();
    let ran = cluster.verb(&["reload", "--agent"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_ne!(cluster.agent(), agent);
    expect_generation(&cluster, 2, 4);
    cluster.stop();
}

#[test]
fn three_hang_ups_at_once_are_at_most_two_reloads() {
    let cluster = plan().start();
    for _ in 0..3 {
        cluster.signal(Signal::HUP);
    }
    cluster.wait("reload-finished");
    cluster.expect_status("it comes to rest", |status| {
        let newest = status["generation"].as_u64();
        let workers = status["workers"].as_array().unwrap();
        status["state"] == "ready" && workers.iter().all(|w| w["generation"].as_u64() == newest)
    });
    let status = cluster.status();
    assert!(status["generation"].as_u64().unwrap() <= 3, "{status}");
    assert!(count(&cluster.events(), "reload-started") <= 2);
    expect_generation(&cluster, status["generation"].as_u64().unwrap(), 4);
    cluster.stop();
}

#[test]
fn a_second_reload_waits_for_the_first_and_says_so() {
    let cluster = plan().worker_start("slow:300").start();
    let first = cluster.plan().path("first");
    let mut command = cluster.spawn_verb(&["reload"], &first);
    cluster.wait("reload-started");
    let second = cluster.verb(&["reload"]);
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(
        second.stderr.contains("another reload is under way"),
        "{second:?}"
    );
    assert_eq!(command.wait().unwrap().code(), Some(0));
    expect_generation(&cluster, 3, 4);
    cluster.stop();
}

#[test]
fn a_command_that_does_not_want_to_wait_leaves_the_reload_alone() {
    let cluster = plan().worker_start("slow:500").start();
    let ran = cluster.verb(&["reload", "--timeout", "200ms"]);
    assert_eq!(ran.code, Some(70), "{ran:?}");
    assert!(ran.stderr.contains("goes on"), "{ran:?}");
    cluster.wait("reload-finished");
    cluster.stop();
}

#[test]
fn a_stop_during_a_reload_wins() {
    let cluster = plan().worker_start("slow:300").start();
    let output = cluster.plan().path("output");
    let mut command = cluster.spawn_verb(&["reload"], &output);
    cluster.wait_nth(step("worker-ready"), 5);
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0).expect_no("reload-finished");
    assert_eq!(
        command.wait().unwrap().code(),
        Some(7),
        "{}",
        fs::read_to_string(output).unwrap()
    );
}

#[test]
fn a_reload_during_a_stop_is_refused() {
    let cluster = plan().before_close("slow:1500").start();
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    let ran = cluster.verb(&["reload"]);
    failed(&ran, &["stop"]);
    cluster.signal(Signal::HUP);
    cluster
        .expect_exit()
        .expect_code(0)
        .expect_no("reload-started");
}

#[test]
fn a_master_that_dies_in_a_reload_leaves_nobody() {
    for workers_ready in 5..=7 {
        let cluster = plan().worker_start("slow:200").start();
        cluster.signal(Signal::HUP);
        cluster.wait_nth(step("worker-ready"), workers_ready);
        let when = cluster.kill_master();
        cluster.expect_gone_within(Duration::from_secs(2), when);
    }
}

#[test]
fn twenty_reloads_leak_nothing_in_the_master() {
    let cluster = playground!().own_copy().flag("--lame-duck", "0s").start();
    let master = cluster.master();
    let reload = || {
        let ran = cluster.verb(&["reload"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    // What is made once has been made then, and the executable is an open file.
    reload();
    let has = || (process::descriptors(master), process::threads(master));
    let before = has();
    (0..20).for_each(|_| reload());
    cluster.expect("the master has what it had", || has() <= before);
    expect_generation(&cluster, 22, 2);
    cluster.stop();
}

#[test]
fn a_reload_of_what_does_not_run_says_so() {
    let ran = playground!().run_verb(&["reload"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
}
