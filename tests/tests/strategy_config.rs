//! How an operator chooses a strategy, and what is answered to mistakes.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::net::TcpListener;

use hatchery_tests::{Plan, command::run, plan::bare, playground};

/// The strategy of the first address of a cluster that is started so.
fn strategy_of(plan: Plan) -> String {
    let cluster = plan.start();
    let json = cluster.verb(&["status", "--json"]).json();
    let strategy = json["listeners"][0]["strategy"]
        .as_str()
        .unwrap()
        .to_owned();
    cluster.stop();
    strategy
}

/// Starts with this configuration file.
fn with_file(content: &str) -> Plan {
    let plan = playground!();
    let file = plan.path("app.toml");
    fs::write(&file, content).unwrap();
    plan.flag("--config", file)
}

#[test]
fn names_are_taken_by_flag_environment_and_file() {
    for (name, strategy) in [
        ("rr", "round-robin"),
        ("none", "shared"),
        ("ip-hash", "ip-hash"),
        ("reuse-port", "reuse-port"),
    ] {
        assert_eq!(
            strategy_of(playground!().flag("--strategy", name)),
            strategy
        );
        assert_eq!(
            strategy_of(playground!().env("HATCHERY_STRATEGY", name)),
            strategy
        );
        let file = format!("strategy = '{name}'");
        assert_eq!(strategy_of(with_file(&file)), strategy);
    }
}

#[test]
fn weights_are_taken_by_flag_environment_and_file() {
    let weighted = || playground!().strategy("weighted");
    for plan in [
        weighted().flag("--weights", "3,1"),
        weighted().env("HATCHERY_WEIGHTS", "3, 1"),
        with_file("strategy = 'weighted'\nweights = [3, 1]"),
        with_file("strategy = 'weighted'\nweights = ['3', '1']"),
        with_file("strategy = 'weighted'\nweights = '3,1'"),
    ] {
        let printed = plan.run_instead("print-config");
        assert!(printed.stdout.contains("weights = [3, 1]"), "{printed:?}");
        // What is printed is a configuration.
        let file = plan.path("again.toml");
        fs::write(&file, &printed.stdout).unwrap();
        let mut again = bare(env!("CARGO_BIN_EXE_playground"));
        again.arg("check").arg("--config").arg(file);
        assert_eq!(run(again).code, Some(0));
        assert_eq!(strategy_of(plan), "weighted");
    }
}

#[track_caller]
fn refused(plan: Plan, code: i32, words: &[&str]) {
    let ended = plan.run_to_end();
    ended.expect_code(code).expect_stderr(words);
    let errors = ended.stderr.lines().filter(|line| line.contains("error:"));
    assert_eq!(errors.count(), 1, "one sentence: {}", ended.stderr);
}

#[test]
fn mistakes_are_told_in_one_sentence() {
    let weighted = || playground!().strategy("weighted");
    refused(
        playground!().strategy("luck"),
        2,
        &["--strategy", "luck", "round-robin (or rr)"],
    );
    refused(
        playground!().env("HATCHERY_STRATEGY", "luck"),
        4,
        &["HATCHERY_STRATEGY", "luck", "round-robin (or rr)"],
    );
    refused(
        with_file("strategy = 'luck'"),
        4,
        &["strategy", "app.toml", "luck", "reuse-port"],
    );
    refused(
        playground!().listen("127.0.0.1:0?strategy=luck"),
        2,
        &["--listen", "luck", "reuse-port"],
    );
    for weights in [
        "0",
        "1001",
        "many",
        "-1",
        "1.5",
        "99999999999999999999",
        "3,",
        "",
    ] {
        let flag = weighted().arg(format!("--weights={weights}"));
        refused(flag, 2, &["--weights", "from 1 to 1000"]);
        refused(
            weighted().env("HATCHERY_WEIGHTS", weights),
            4,
            &["HATCHERY_WEIGHTS", "from 1 to 1000"],
        );
    }
    refused(
        with_file("strategy = 'weighted'\nweights = [3, 0]"),
        4,
        &["weights", "app.toml", "from 1 to 1000"],
    );
    refused(
        weighted().flag("--weights", "3,1,2"),
        4,
        &["--weights", "3 of them for 2 workers"],
    );
    refused(
        playground!().flag("--weights", "3,1"),
        4,
        &["--weights", "no address has the strategy weighted"],
    );
}

#[test]
fn a_socket_for_each_slot_needs_a_port_of_its_own() {
    let plan = playground!();
    let unix = format!(
        "unix:{}?strategy=reuse-port",
        plan.path("app.sock").display()
    );
    refused(
        plan.listen(&unix),
        4,
        &["app.sock", "reuse-port", "TCP address"],
    );
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let plan = playground!().strategy("reuse-port").inherit(&inherited);
    let ended = plan.listen("systemd").run_to_end();
    ended
        .expect_code(4)
        .expect_stderr(&["reuse-port", "not inherited", "choose another strategy"]);
}
