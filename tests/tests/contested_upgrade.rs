//! An upgrade that meets something else: a death at the worst moment, an agent that does not start, a build that
//! hands over in another way, other orders.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::process::Child;
use std::time::Duration;

use hatchery_tests::deploy::copy_program;
use hatchery_tests::event::count;
use hatchery_tests::{Cluster, Traffic, foreigner, http, playground, process, step};
use rustix::process::Signal;
use serde_json::json;

#[track_caller]
fn is_as_before(cluster: &Cluster) {
    cluster.expect("nobody of the other generation is left", || {
        cluster.survivors().list().len() == 4
    });
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect_one_in_office();
}

// A death between commit and serving.

/// The old agent is out of office, and the new master, stopped, has not read yet that it may begin.
fn committed(cluster: &Cluster) -> (Child, u32) {
    let agent = cluster.agent();
    let output = cluster.plan().path("upgrade.out");
    let command = cluster.spawn_verb(&["upgrade"], &output);
    cluster.wait("standing-down");
    let new = cluster.wait_nth("master-started", 2).pid.unwrap();
    process::kill(new, Signal::STOP);
    // It has left: there is nothing more to wait for before the commit.
    cluster.wait(step("agent-exited").pid(agent));
    assert_eq!(count(&cluster.events(), step("egg-ready").pid(new)), 0);
    (command, new)
}

fn slow_to_leave() -> Cluster {
    playground!()
        .upgradable()
        .before_close("slow:500")
        .flag("--drain-timeout", "10s")
        .start()
}

#[test]
fn the_new_master_dies_when_it_was_told_to_begin() {
    let cluster = slow_to_leave();
    let (mut command, new) = committed(&cluster);
    process::kill(new, Signal::KILL);
    assert_eq!(command.wait().unwrap().code(), Some(7));
    let said = fs::read_to_string(cluster.plan().path("upgrade.out")).unwrap();
    assert!(said.contains("killed by signal 9"), "{said}");
    cluster.wait_nth("agent-ready", 3);
    cluster.expect("a fresh agent is in office", || {
        cluster.office().last().map(|line| line.pid) == Some(cluster.agent())
    });
    is_as_before(&cluster);
    assert_eq!(cluster.status()["generation"], 1);
    cluster.upgrade();
    cluster.stop();
}

#[test]
fn the_old_master_dies_when_the_new_one_was_told_to_begin() {
    let cluster = slow_to_leave();
    let address = cluster.address();
    let (mut command, new) = committed(&cluster);
    process::kill(cluster.master(), Signal::KILL);
    process::kill(new, Signal::CONT);
    assert_eq!(command.wait().unwrap().code(), Some(7));
    assert_eq!(cluster.follow().code(), None, "it was killed");
    cluster.wait(step("egg-ready").pid(new));
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    is_as_before(&cluster);
    assert_eq!(cluster.status()["generation"], 2);
    cluster.upgrade();
    cluster.stop();
}

#[test]
fn both_die_when_the_new_one_was_told_to_begin() {
    let cluster = slow_to_leave();
    let (mut command, new) = committed(&cluster);
    let killed = cluster.kill_master();
    process::kill(new, Signal::KILL);
    cluster.expect_gone_within(Duration::from_secs(3), killed);
    assert_eq!(command.wait().unwrap().code(), Some(7));
}

// One that cannot begin.

#[test]
fn an_agent_that_does_not_start_is_quoted() {
    let cluster = playground!()
        .upgradable()
        .flag("--agent-start-timeout", "5s")
        .start();
    let traffic = Traffic::begin(cluster.address(), 16);
    let agent = cluster.agent();
    for (what, words) in [
        ("fail", ["Agent::start failed", "this was asked for"]),
        ("exit:9", ["agent", "exited with code 9"]),
        ("panic", ["Agent::start panicked", "this was asked for"]),
        ("hang", ["Agent::start", "did not finish"]),
    ] {
        cluster.spoil_agents(what);
        cluster.fail_upgrade(&words);
    }
    let status = cluster.status();
    assert_eq!(status["agent"]["pid"], agent);
    assert_eq!(status["generation"], 1);
    is_as_before(&cluster);
    cluster.mend_agents();
    cluster.upgrade();
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    cluster.stop();
}

#[test]
fn a_build_that_hands_over_in_another_way_is_refused() {
    let cluster = playground!().upgradable().start();
    let aside = cluster.plan().path("aside");
    copy_program(cluster.plan().program(), &aside);
    let before = cluster.everybody();
    cluster.replace_program(foreigner!());
    let upgrade = cluster.order(json!({"request": "upgrade"}));
    let why = upgrade.outcome().unwrap_err();
    for words in [
        "it speaks version 4711 of the handover, this master speaks",
        "stop the application and start it again",
    ] {
        assert!(why.contains(words), "{why}");
    }
    is_as_before(&cluster);
    assert_eq!(cluster.everybody(), before);
    cluster.replace_program(&aside);
    cluster.upgrade();
    cluster.stop();
}

// Other orders.

#[test]
fn nothing_else_is_changed_during_an_upgrade() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:1500");
    let upgrade = cluster.order(json!({"request": "upgrade"}));
    cluster.wait("upgrade-started");
    for verb in [
        ["reload"].as_slice(),
        &["reload", "--agent"],
        &["scale", "5"],
        &["scale", "+1"],
        &["upgrade"],
    ] {
        let ran = cluster.verb(verb);
        cluster.expect_failed(&ran, &["an upgrade is going on"]);
    }
    // By signal it is told in the log.
    for (signal, what) in [(Signal::HUP, "SIGHUP"), (Signal::TTIN, "SIGTTIN")] {
        cluster.signal(signal);
        cluster.expect("the log tells it", || {
            let log = cluster.stderr();
            let mut lines = log.lines().filter(|line| line.contains(what));
            lines.any(|line| line.contains("an upgrade is going on"))
        });
    }
    upgrade.outcome().unwrap();
    cluster.follow();
    let events = cluster.events();
    for none in ["reload-started", "scaled"] {
        assert_eq!(count(&events, none), 0, "{none}");
    }
    let status = cluster.status();
    assert_eq!(status["generation"], 2);
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    cluster.stop();
}

#[test]
fn no_upgrade_begins_during_a_reload() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:700");
    let reload = cluster.order(json!({"request": "reload"}));
    cluster.wait("reload-started");
    let ran = cluster.verb(&["upgrade"]);
    cluster.expect_failed(&ran, &["a reload is going on"]);
    reload.outcome().unwrap();
    assert_eq!(count(&cluster.events(), "upgrade-started"), 0);
    cluster.mend_starts();
    cluster.upgrade();
    assert_eq!(cluster.status()["generation"], 3);
    cluster.stop();
}

#[test]
fn no_upgrade_begins_while_the_number_of_workers_changes() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:700");
    let scale = cluster.order(json!({"request": "scale", "to": {"workers": 3}}));
    cluster.wait("scaled");
    let ran = cluster.verb(&["upgrade"]);
    cluster.expect_failed(&ran, &["the number of workers is being changed"]);
    scale.outcome().unwrap();
    cluster.mend_starts();
    cluster.upgrade();
    assert_eq!(cluster.worker_pids().len(), 3);
    cluster.stop();
}
