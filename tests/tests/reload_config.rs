//! What a reload reads again: the configuration file. What can change changes without a restart, and the rest is named.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hatchery_tests::event::count;
use hatchery_tests::http::{self, Connection};
use hatchery_tests::process::kill;
use hatchery_tests::wait::{self, PATIENCE};
use hatchery_tests::{Cluster, Plan, Ran, Traffic, playground, step};
use rustix::process::Signal;
use serde_json::json;

fn plan() -> Plan {
    playground!().fragile().without("--workers")
}

fn configured(text: &str) -> Cluster {
    configured_plan(plan(), text)
}

fn configured_plan(plan: Plan, text: &str) -> Cluster {
    let file = plan.path("app.toml");
    fs::write(&file, text).unwrap();
    plan.flag("--config", file).start()
}

#[track_caller]
fn configure(cluster: &Cluster, text: &str) -> Ran {
    fs::write(cluster.plan().path("app.toml"), text).unwrap();
    cluster.verb(&["reload"])
}

#[track_caller]
fn succeed(cluster: &Cluster, text: &str) -> Ran {
    let ran = configure(cluster, text);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

// What takes effect.

/// How many workers there are, when they are all ready.
#[track_caller]
fn expect_workers(cluster: &Cluster, count: usize) {
    cluster.expect_status("so many workers are ready", |status| {
        let workers = status["workers"].as_array().unwrap();
        workers.len() == count && workers.iter().all(|w| w["state"] == "ready")
    });
}

#[test]
fn the_number_of_workers() {
    let cluster = configured("workers = 2\n");
    succeed(&cluster, "workers = 3\n");
    expect_workers(&cluster, 3);
    succeed(&cluster, "workers = 1\n");
    expect_workers(&cluster, 1);
    cluster.stop();
}

#[test]
fn what_was_scaled_stays_until_the_file_says_something_new() {
    let cluster = configured("workers = 2\n");
    assert_eq!(cluster.verb(&["scale", "3"]).code, Some(0));
    for text in ["workers = 2\n", "workers = 2\nidle_timeout = \"9s\"\n"] {
        succeed(&cluster, text);
        expect_workers(&cluster, 3);
    }
    succeed(&cluster, "workers = 1\n");
    expect_workers(&cluster, 1);
    cluster.stop();
}

#[test]
fn a_number_that_is_ordered_in_a_reload_wins_against_the_file() {
    let cluster = configured("workers = 2\n");
    cluster.spoil_starts("slow:700");
    fs::write(cluster.plan().path("app.toml"), "workers = 5\n").unwrap();
    let reload = cluster.order(json!({"request": "reload"}));
    cluster.wait_nth(step("worker-spawned"), 3);
    let scaled = cluster.verb(&["scale", "3"]);
    assert_eq!(scaled.code, Some(0), "{scaled:?}");
    reload.outcome().unwrap();
    expect_workers(&cluster, 3);
    assert_eq!(cluster.status()["generation"], 2);
    cluster.stop();
}

/// Of the master and of workers: each says this for those who want to know.
#[test]
fn the_log_level() {
    let cluster = configured("workers = 1\nlog_level = \"info\"\n");
    let provoke = || {
        let mut control = cluster.control();
        control.send_body(b"no request").unwrap();
        assert_eq!(control.receive().unwrap()["reply"], "error");
        let mut client = cluster.connect();
        client.send(b"no request\r\n\r\n").unwrap();
        client.drain();
    };
    let words = [
        "a control client was turned away",
        "a connection ended early",
    ];
    let said = || words.map(|words| cluster.stderr().matches(words).count());
    provoke();
    succeed(&cluster, "workers = 1\nlog_level = \"debug\"\n");
    assert_eq!(said(), [0, 0]);
    provoke();
    cluster.expect("both are logged", || said() == [1, 1]);
    succeed(&cluster, "workers = 1\nlog_level = \"error\"\n");
    provoke();
    kill(cluster.worker(0), Signal::TERM);
    cluster.wait_nth("worker-ready", 4);
    assert_eq!(said(), [1, 1]);
    let replaced = |line: &&str| line.contains("worker-replaced");
    let replaced = cluster.stderr().lines().filter(replaced).count();
    assert_eq!(replaced, 2, "only those of the reloads before");
    cluster.stop();
}

#[test]
fn weights() {
    let cluster = configured("workers = 2\nstrategy = \"weighted\"\nweights = [1, 1]\n");
    let expect_shares = |first: usize, second: usize| {
        cluster.expect("connections are shared so", || {
            let slot = |_| cluster.connect().whoami().unwrap().slot;
            let slots: Vec<u32> = (0..first + second).map(slot).collect();
            let of_first = slots.iter().filter(|slot| **slot == 0).count();
            of_first.abs_diff(first) <= 1
        });
    };
    expect_shares(20, 20);
    succeed(
        &cluster,
        "workers = 2\nstrategy = \"weighted\"\nweights = [4, 1]\n",
    );
    expect_shares(32, 8);
    cluster.stop();
}

/// A client that is served, and stays.
fn inside(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connect();
    connection.whoami().unwrap();
    connection
}

#[test]
fn how_many_connections_a_worker_may_have() {
    let cluster = configured("workers = 1\nmax_connections = 1\n");
    for room in [2, 1] {
        succeed(
            &cluster,
            &format!("workers = 1\nmax_connections = {room}\n"),
        );
        let mut clients: Vec<_> = (0..room).map(|_| inside(&cluster)).collect();
        let (served, next) = mpsc::channel();
        let address = cluster.address();
        let waits = thread::spawn(move || {
            let answer = http::get(address, "/").map(|answer| answer.status);
            served.send(answer.unwrap()).unwrap();
        });
        // The others are answered all the time, and this one is not.
        wait::meanwhile(Duration::from_millis(300), || {
            for client in &mut clients {
                client.whoami().unwrap();
            }
        });
        assert!(next.try_recv().is_err(), "there is room for {room}");
        clients.pop();
        assert_eq!(next.recv_timeout(PATIENCE).unwrap(), 200);
        waits.join().unwrap();
    }
    cluster.stop();
}

#[test]
fn limits_for_connections() {
    let cluster = configured("workers = 1\n");
    let mut client = cluster.connect();
    for _ in 0..5 {
        assert!(!client.get("/").unwrap().closes());
    }
    drop(client);
    succeed(
        &cluster,
        "workers = 1\nmax_requests_per_connection = 2\nidle_timeout = \"200ms\"\n",
    );
    let mut client = cluster.connect();
    assert!(!client.get("/").unwrap().closes());
    assert!(client.get("/").unwrap().closes());
    let mut idle = cluster.connect();
    idle.get("/").unwrap();
    assert_eq!(idle.drain(), b"", "it is closed in the end");
    cluster.stop();
}

#[test]
fn limits_for_recycling_and_hangs() {
    let cluster = configured("workers = 2\n");
    let traffic = Traffic::begin(cluster.address(), 4);
    traffic.expect_answers(200);
    let recycled = || {
        let events = cluster.events();
        let mut exits = events.iter().filter_map(|event| event.exit.as_deref());
        exits.any(|exit| exit == "recycled")
    };
    assert!(!recycled());
    succeed(&cluster, "workers = 2\nmax_requests = 50\n");
    cluster.expect("workers are recycled", recycled);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    succeed(&cluster, "workers = 2\nworker_timeout = \"3s\"\n");
    let worker = cluster.worker(0);
    kill(worker, Signal::STOP);
    cluster.wait(step("hung").pid(worker));
    cluster.wait(step("worker-exited").pid(worker));
    cluster.expect_orderly_end();
}

#[test]
fn how_long_a_start_may_take() {
    let plan = plan().without("--worker-start-timeout");
    let cluster = configured_plan(plan, "workers = 1\n");
    cluster.spoil_starts("hang");
    let ran = configure(&cluster, "workers = 1\nworker_start_timeout = \"1s\"\n");
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stderr.contains("did not finish within 1s"), "{ran:?}");
    cluster.mend_starts();
    cluster.stop();
}

// What does not.

#[test]
fn what_cannot_change_is_named_and_stays() {
    let mut plan = plan();
    let path = |name: &str| plan.path(name).display().to_string();
    let (runtime_dir, events) = (plan.runtime_dir(), plan.events_file());
    let before = format!(
        "workers = 1\npass_fds = [9]\nruntime_dir = \"{}\"\nevents = \"{}\"\n",
        runtime_dir.display(),
        events.display()
    );
    let after = format!(
        "workers = 1\nname = \"other\"\nruntime_dir = \"{}\"\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\n\
         strategy = \"shared\"\nuser = \"nobody\"\ngroup = \"nogroup\"\nnice = 5\ncpu_affinity = \"auto\"\ncpu_scheduling = \"inherit\"\n\
         umask = \"0077\"\nlog_format = \"json\"\nlog_file = \"{}\"\nevents = \"{}\"\npid_file = \"{}\"\n\
         daemon = true\n",
        path("other"),
        path("other.log"),
        path("other.jsonl"),
        path("other.pid"),
    );
    for flag in ["--name", "--runtime-dir", "--events", "--pass-fds"] {
        plan = plan.without(flag);
    }
    let cluster = configured_plan(plan.without_default_address(), &before);
    let (status, address) = (cluster.status(), cluster.address());
    let ran = succeed(&cluster, &after);
    for key in [
        "name",
        "runtime_dir",
        "listen",
        "strategy",
        "user",
        "group",
        "nice",
        "cpu_affinity",
        "cpu_scheduling",
        "umask",
        "pass_fds",
        "log_format",
        "log_file",
        "events",
        "pid_file",
        "daemon",
    ] {
        let note = format!("`{key}` has changed; that takes effect with a restart");
        assert!(ran.stderr.contains(&note), "no {key} in {ran:?}");
        cluster.expect("it is in the log, too", || cluster.stderr().contains(&note));
    }
    let now = cluster.status();
    for same in ["name", "listeners"] {
        assert_eq!(now[same], status[same]);
    }
    assert_eq!(now["generation"], 2);
    assert_eq!(http::get(address, "/").unwrap().status, 200);
    for name in ["other", "other.log", "other.jsonl", "other.pid"] {
        assert!(!cluster.plan().path(name).exists(), "{name}");
    }
    assert_eq!(count(&cluster.events(), "reload-finished"), 1);
    cluster.stop();
}

#[test]
fn a_bad_file_refuses_the_reload() {
    let cluster = configured("workers = 2\n");
    let before = cluster.worker_pids();
    let ran = configure(&cluster, "workers = 0\nwrkers = 3\n");
    cluster.expect_failed(&ran, &["workers", "wrkers", "app.toml"]);
    assert_eq!(cluster.worker_pids(), before);
    cluster.signal(Signal::HUP);
    cluster.expect("the log tells it, too", || {
        cluster
            .stderr()
            .contains("the reload that SIGHUP asked for failed")
    });
    assert_eq!(cluster.worker_pids(), before);
    assert_eq!(configure(&cluster, "workers = 2\n").code, Some(0));
    cluster.stop();
}
