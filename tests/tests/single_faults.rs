//! Agent and one worker in the master's own process: what goes wrong, and what is refused.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::net::TcpListener;
use std::time::Duration;

use hatchery_tests::event::position;
use hatchery_tests::{Cluster, Ended, Plan, playground, step};
use rustix::process::Signal;

fn single(plan: Plan) -> Plan {
    plan.without("--workers").arg("--single")
}

// The start.

#[test]
fn a_port_in_use_ends_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ended = single(playground!().listen(address)).run_to_end();
    ended
        .expect_code(5)
        .expect_stderr(&[&address.to_string(), "in use"])
        .expect_no("agent-spawned");
}

#[test]
fn a_failed_start_of_the_agent_ends_it() {
    for (fault, words) in [
        ("fail", "Agent::start failed: this was asked for"),
        ("panic", "Agent::start panicked: this was asked for"),
    ] {
        let ended = single(playground!().agent_start(fault)).run_to_end();
        ended
            .expect_code(3)
            .expect_stderr(&["agent failed to start", words])
            .expect_no("worker-spawned");
    }
}

#[test]
fn a_failed_start_of_the_worker_ends_it_and_the_agent_closes() {
    for (fault, words) in [
        ("fail", "Worker::start failed: this was asked for"),
        ("hang", "Worker::start did not finish within 300ms"),
    ] {
        let plan = playground!()
            .worker_start(fault)
            .flag("--worker-start-timeout", "300ms");
        let ended = single(plan).run_to_end();
        ended
            .expect_code(3)
            .expect_stderr(&["worker 0 failed to start", words])
            .expect_no("egg-ready");
        let closed = ended.hooks("before_close");
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].1.role, "agent");
    }
}

/// A thread that does not come back cannot be killed: nobody waits for it.
#[test]
fn a_start_that_keeps_its_thread_is_left_behind() {
    let plan = playground!()
        .worker_start("block:3600000")
        .flag("--worker-start-timeout", "300ms");
    let ended = single(plan).run_to_end();
    ended
        .expect_code(3)
        .expect_stderr(&["within its start timeout", "left behind"])
        .expect_no("egg-ready");
    assert_eq!(ended.hooks("before_close").len(), 1);
}

#[test]
fn a_stop_while_the_worker_starts() {
    let cluster = single(playground!().worker_start("hang")).launch();
    cluster.wait_hooks("start", 2);
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0).expect_no("egg-ready");
}

// Deaths after it.

/// One ends, so both do: in order, with a code that says so.
fn expect_end_of_both(ended: &Ended, words: &[&str]) {
    ended.expect_code(1).expect_stderr(words);
    let stopping = position(&ended.events, "stopping");
    let last = &ended.events[ended.events.len() - 1];
    assert_eq!(last.event, "stopped");
    for spawned in ["agent-spawned", "worker-spawned"] {
        assert!(position(&ended.events, spawned) < stopping);
        let times = ended.events.iter().filter(|e| e.event == spawned).count();
        assert_eq!(times, 1, "{spawned}: nobody is replaced");
    }
}

#[test]
fn a_worker_that_fails_takes_the_agent_along() {
    let plan = playground!().env("PLAYGROUND_WORKER_EGG_READY", "fail");
    let ended = single(plan).run_to_end();
    expect_end_of_both(
        &ended,
        &["worker 0 is gone, and nobody takes its place: Worker::egg_ready failed"],
    );
    let closed = ended.hooks("before_close");
    assert_eq!(closed.len(), 2);
    assert_eq!(closed[1].1.role, "agent");
}

#[test]
fn an_agent_that_fails_takes_the_worker_along() {
    let plan = playground!().env("PLAYGROUND_AGENT_EGG_READY", "panic");
    let ended = single(plan).run_to_end();
    expect_end_of_both(
        &ended,
        &["agent is gone, and nobody takes its place: Agent::egg_ready panicked"],
    );
    assert_eq!(ended.hooks("before_close").len(), 2);
}

#[test]
fn a_worker_that_hangs_ends_both() {
    let cluster = single(playground!().flag("--worker-timeout", "3s")).start();
    let mut connection = cluster.connect();
    connection.ask("/block/3600000").unwrap();
    cluster.wait("hung");
    let ended = cluster.expect_exit();
    expect_end_of_both(&ended, &["worker 0 is gone", "GET /block/3600000"]);
    let exited = &ended.events[position(&ended.events, step("worker-exited"))];
    assert_eq!(exited.exit.as_deref(), Some("hung"));
    let closed = ended.hooks("before_close");
    assert_eq!(closed.len(), 1, "the agent's");
}

#[test]
fn a_handler_that_panics_costs_its_own_request() {
    let cluster = single(playground!()).start();
    let mut connection = cluster.connect();
    connection.ask("/panic").unwrap();
    assert!(connection.drain().is_empty());
    assert_eq!(cluster.get("/"), "Hello World");
    let log = cluster.stderr();
    let me = cluster.master();
    let whose = format!("ERROR worker 0 [pid {me} gen 1] panic: ");
    assert!(log.contains(&whose), "{log}");
    cluster.stop();
}

/// What would end one process of many ends the only one. Nobody is left to tell of it, and nobody is left.
#[test]
fn a_crash_of_one_is_a_crash_of_both() {
    let cluster = single(playground!()).start();
    let mut connection = cluster.connect();
    connection.ask("/exit/9").unwrap();
    assert!(connection.drain().is_empty());
    let ended = cluster.expect_loss();
    ended.expect_code(9).expect_no("worker-exited");
    assert!(ended.hooks("before_close").is_empty());
    // What it left is no obstacle.
    std::fs::remove_file(ended.plan.events_file()).unwrap();
    let again = ended.plan.clone().start();
    assert_eq!(again.get("/"), "Hello World");
    again.stop();
}

// The stop.

fn second_signal_is_at_once(signal: Signal) {
    let plan = playground!()
        .before_close("hang")
        .flag("--drain-timeout", "60s")
        .flag("--lame-duck", "0s");
    let cluster = single(plan).start();
    cluster.signal(signal);
    cluster.wait_hooks("before_close", 1);
    cluster.signal(signal);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    ended.expect_stop_within(Duration::ZERO);
    for event in &ended.events {
        if event.event.ends_with("-exited") {
            assert!(event.why().contains("left behind"), "{event:?}");
        }
    }
}

#[test]
fn a_second_terminate_is_at_once() {
    second_signal_is_at_once(Signal::TERM);
}

#[test]
fn a_second_ctrl_c_is_at_once() {
    second_signal_is_at_once(Signal::INT);
}

/// The deadline holds for a thread that nobody can end, and the agent has its time after it.
#[test]
fn a_worker_that_does_not_finish_is_left_behind() {
    let plan = playground!().flag("--drain-timeout", "300ms");
    let cluster = single(plan).start();
    let mut connection = cluster.spin(0);
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    // The worker is given up two seconds after its time.
    ended.expect_stop_within(Duration::from_millis(2300));
    let exited = &ended.events[position(&ended.events, step("worker-exited"))];
    assert!(
        exited.why().contains("did not finish in time"),
        "{exited:?}"
    );
    let exited = &ended.events[position(&ended.events, step("agent-exited"))];
    assert_eq!(exited.why(), "exited with code 0");
    assert_eq!(ended.hooks("before_close").len(), 1);
    assert!(connection.drain().is_empty());
}

// What there is not.

#[test]
fn nobody_is_replaced_or_added() {
    let cluster: Cluster = single(playground!()).start();
    for verb in [&["reload"][..], &["scale", "2"], &["upgrade"]] {
        let ran = cluster.verb(verb);
        assert_eq!(ran.code, Some(7), "{ran:?}");
        assert!(ran.stderr.contains("(`single`)"), "{ran:?}");
    }
    for (signal, what) in [
        (Signal::HUP, "reload that SIGHUP"),
        (Signal::USR2, "upgrade that SIGUSR2"),
        (Signal::TTIN, "workers that SIGTTIN"),
        (Signal::TTOU, "workers that SIGTTOU"),
    ] {
        cluster.signal(signal);
        cluster.expect("it says why not", || cluster.stderr().contains(what));
    }
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

#[test]
fn settings_for_many_processes_are_refused() {
    let plan = playground!().workers(2).arg("--single").strategy("rr");
    for ran in [plan.run_command(), plan.run_instead("check")] {
        assert_eq!(ran.code, Some(4), "{ran:?}");
        for words in ["`workers`", "flag --workers", "round-robin and `single`"] {
            assert!(ran.stderr.contains(words), "{ran:?}");
        }
    }
    // The one that runs has processes of its own, and goes on with them.
    let plan = playground!();
    let file = plan.path("app.toml");
    std::fs::write(&file, "workers = 2").unwrap();
    let plan = plan.without("--workers").flag("--config", &file);
    let cluster = plan.start();
    std::fs::write(&file, "single = true").unwrap();
    let upgraded = cluster.verb(&["upgrade"]);
    assert_eq!(upgraded.code, Some(7), "{upgraded:?}");
    assert!(upgraded.stderr.contains("`single`"), "{upgraded:?}");
    let reloaded = cluster.verb(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let note = "`single` has changed; that takes effect with a restart";
    assert!(reloaded.stderr.contains(note), "{reloaded:?}");
    // Its strategy is another one by default, which nobody has said.
    assert!(!reloaded.stderr.contains("`strategy`"), "{reloaded:?}");
    assert_eq!(cluster.worker_pids().len(), 2);
    cluster.stop();
}
