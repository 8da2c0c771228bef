//! `restart`: a daemon is stopped and started as it was started; everybody else restarts what he started.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use hatchery_tests::{command::run, http, playground};
use serde_json::Value;

fn pid(status: &Value) -> u64 {
    status["master"]["pid"].as_u64().unwrap()
}

#[test]
fn a_daemon_is_started_again_as_it_was_started() {
    let plan = playground!().own_copy();
    let config = plan.path("app.toml");
    fs::write(&config, "worker_start_timeout = \"11s\"\n").unwrap();
    let daemon = plan
        // The command has no such descriptor to pass on.
        .without("--pass-fds")
        .without("--worker-start-timeout")
        .flag("--config", &config)
        .env("PLAYGROUND_WORKER_START", "slow:100")
        .arg("--daemon")
        .run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let before = daemon.verb(&["status", "--json"]).json();
    assert_eq!(before["master"]["background"], true);
    // What a reload cannot change, and an environment that the command does not have.
    fs::write(&config, "threads = 2\nstrategy = \"shared\"\n").unwrap();
    let restarted = daemon.verb(&["restart"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert!(restarted.stdout.contains("is ready on"), "{restarted:?}");
    let after = daemon.verb(&["status", "--json"]).json();
    assert_ne!(pid(&before), pid(&after));
    assert_eq!(after["listeners"][0]["strategy"], "shared");
    let address = after["listeners"][0]["address"].as_str().unwrap();
    assert_eq!(
        http::get(address.parse().unwrap(), "/").unwrap().status,
        200
    );
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
    assert!(daemon.survivors().gone_within(Duration::from_secs(5)));
}

#[test]
fn a_start_that_would_fail_stops_nothing() {
    let plan = playground!().own_copy();
    let config = plan.path("app.toml");
    fs::write(&config, "").unwrap();
    let daemon = plan.flag("--config", &config).arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let before = daemon.verb(&["status", "--json"]).json();
    fs::write(&config, "treads = 2\n").unwrap();
    let restarted = daemon.verb(&["restart"]);
    assert_eq!(restarted.code, Some(4), "{restarted:?}");
    for words in ["treads", "it was not stopped"] {
        assert!(restarted.stderr.contains(words), "{restarted:?}");
    }
    let after = daemon.verb(&["status", "--json"]).json();
    assert_eq!(pid(&before), pid(&after));
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
}

/// Nobody but the command can hand it on, and after the stop it is too late to say so.
#[test]
fn a_descriptor_that_would_not_survive_stops_nothing() {
    let daemon = playground!().own_copy().arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let before = daemon.verb(&["status", "--json"]).json();
    let restarted = daemon.verb(&["restart"]);
    assert_eq!(restarted.code, Some(4), "{restarted:?}");
    for words in ["`pass_fds` names 9", "it was not stopped"] {
        assert!(restarted.stderr.contains(words), "{restarted:?}");
    }
    let after = daemon.verb(&["status", "--json"]).json();
    assert_eq!(pid(&before), pid(&after));
    // With it there is nothing to say against it.
    let mut with = Command::new("sh");
    with.args(["-c", "exec \"$@\" 9</dev/null", "sh"])
        .arg(daemon.plan().program())
        .args(["restart", "--runtime-dir"])
        .arg(daemon.plan().runtime_dir());
    let restarted = run(with);
    let stopped = daemon.verb(&["stop"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
}

#[test]
fn one_in_the_foreground_is_left_to_whoever_started_it() {
    let cluster = playground!().start();
    let refused = cluster.verb(&["restart"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("runs in the foreground"),
        "{refused:?}"
    );
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

#[test]
fn one_that_does_not_run_is_not_started() {
    let refused = playground!().run_verb(&["restart"]);
    assert_eq!(refused.code, Some(6), "{refused:?}");
}
