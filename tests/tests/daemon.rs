//! In the background: the command that starts it tells the truth, and then is not needed any more.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use hatchery_tests::event::{count, position};
use hatchery_tests::process::{self, Process};
use hatchery_tests::{http, playground};
use rustix::process::Signal;

#[test]
fn the_command_returns_when_the_cluster_is_ready() {
    let daemon = playground!()
        .worker_start("slow:500")
        .arg("--daemon")
        .run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let status = daemon.verb(&["status", "--json"]).json();
    assert_eq!(status["state"], "ready");
    let address = status["listeners"][0]["address"].as_str().unwrap();
    assert_eq!(
        http::get(address.parse().unwrap(), "/").unwrap().text(),
        "Hello World"
    );
    assert!(
        daemon.ran.stdout.contains(address),
        "it says where: {:?}",
        daemon.ran
    );

    // The master is on its own: no terminal can hang it up.
    let pid = u32::try_from(status["master"]["pid"].as_u64().unwrap()).unwrap();
    let master = Process::find(pid).unwrap();
    assert_eq!(master.group, pid);
    assert!(
        !daemon
            .survivors()
            .list()
            .iter()
            .any(|process| process.pid == master.parent)
    );

    let stopped = daemon.verb(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(daemon.survivors().gone_within(Duration::ZERO));
    assert_eq!(count(&daemon.events(), "stopped"), 1);
}

#[test]
fn a_start_that_fails_is_told_by_the_command() {
    let daemon = playground!()
        .worker_start("fail")
        .only_slot(1)
        .arg("--daemon")
        .run_daemon();
    assert_eq!(daemon.ran.code, Some(3), "{:?}", daemon.ran);
    for word in ["worker 1", "Worker::start failed"] {
        assert!(
            daemon.ran.stderr.contains(word),
            "no `{word}` in {:?}",
            daemon.ran
        );
    }
    assert!(
        daemon.survivors().gone_within(Duration::ZERO),
        "nobody is left already"
    );
}

#[test]
fn a_start_that_hangs_is_told_by_the_command() {
    let daemon = playground!()
        .agent_start("hang")
        .flag("--agent-start-timeout", "500ms")
        .arg("--daemon")
        .run_daemon();
    assert_eq!(daemon.ran.code, Some(3), "{:?}", daemon.ran);
    assert!(
        daemon.ran.stderr.contains("Agent::start did not finish"),
        "{:?}",
        daemon.ran
    );
}

#[test]
fn a_port_in_use_is_told_by_the_command() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let daemon = playground!().listen(address).arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(5), "{:?}", daemon.ran);
    assert!(
        daemon.ran.stderr.contains(&address.to_string()),
        "{:?}",
        daemon.ran
    );
}

#[test]
fn a_second_daemon_is_refused_and_the_first_untouched() {
    let daemon = playground!().arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    // Recorded by then, but the file is written by a thread of its own.
    daemon.wait("egg-ready");
    let before = daemon.events();
    let second = daemon.plan().run_command();
    assert_eq!(second.code, Some(6), "{second:?}");
    assert_eq!(daemon.events(), before);
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
}

#[test]
fn a_bad_flag_is_told_by_the_command() {
    let daemon = playground!().arg("--daemon").arg("--bogus").run_daemon();
    assert_eq!(daemon.ran.code, Some(2), "{:?}", daemon.ran);
    assert!(daemon.ran.stderr.contains("--bogus"), "{:?}", daemon.ran);
}

#[test]
fn what_a_daemon_writes_goes_to_its_log_file() {
    let plan = playground!();
    let log = plan.path("log");
    let daemon = plan.flag("--log-file", &log).arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
    let written = fs::read_to_string(&log).unwrap();
    for word in ["egg-ready", "stopped"] {
        assert!(written.contains(word), "{written}");
    }
}

#[test]
fn a_daemon_whose_command_is_killed_before_it_is_ready_does_not_start() {
    let cluster = playground!().agent_start("hang").arg("--daemon").launch();
    let spawned = cluster.wait("agent-spawned");
    let agent = spawned.pid.unwrap();
    cluster.kill_master();
    process::expect_dead(agent);
    let master_stopped = |events: &[hatchery_tests::Event]| count(events, "stopped") == 1;
    cluster.expect("the daemon gives up", || master_stopped(&cluster.events()));
    let events = cluster.events();
    assert!(position(&events, "stopping") < position(&events, "stopped"));
}

#[test]
fn a_daemon_that_is_killed_before_it_is_ready_is_told_by_the_command() {
    let command = playground!().agent_start("hang").arg("--daemon").launch();
    let master = command.wait("master-started").pid.unwrap();
    process::kill(master, Signal::KILL);
    // The launcher is what was launched here; the master was its child.
    let ended = command.expect_loss();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    ended.expect_stderr(&["signal 9"]);
}

#[test]
fn a_daemon_does_not_die_of_a_hang_up() {
    let daemon = playground!().arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let pid = daemon.verb(&["status", "--json"]).json()["master"]["pid"].clone();
    let pid = u32::try_from(pid.as_u64().unwrap()).unwrap();
    process::kill(pid, Signal::HUP);
    daemon.wait("reload-finished");
    let status = daemon.verb(&["status", "--json"]).json();
    assert_eq!(status["state"], "ready");
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
}
