//! Agent and one worker in the master's own process: what holds as it does with processes of their own.

use std::fs;
use std::time::Duration;

use hatchery_tests::event::{count, position};
use hatchery_tests::jobs::{begun, lines};
use hatchery_tests::mail::{agent_mail, ask, mail, noted, send, texts};
use hatchery_tests::process::{self, kill_group};
use hatchery_tests::wait::{self, PATIENCE};
use hatchery_tests::{Cluster, Plan, http, playground, step};
use rustix::process::Signal;
use serde_json::json;

fn single(plan: Plan) -> Plan {
    plan.without("--workers").arg("--single")
}

#[test]
fn one_process_lives_in_the_same_order() {
    let cluster = single(playground!()).start();
    assert_eq!(cluster.get("/"), "Hello World");
    let master = cluster.master();
    assert_eq!(cluster.everybody(), [master, master]);
    let who = cluster.connect().whoami().unwrap();
    assert_eq!((who.slot, who.pid, who.generation), (0, master, 1));
    assert_eq!(cluster.survivors().list().len(), 1, "there is no other");
    cluster.wait_hooks("egg_ready", 2);
    let ended = cluster.stop();

    let steps = [
        step("master-started"),
        step("agent-spawned"),
        step("agent-ready"),
        step("worker-spawned").slot(0),
        step("worker-ready").slot(0),
        step("egg-ready"),
        step("stopping"),
        step("draining").slot(0),
        step("worker-exited").slot(0),
        step("draining").role("agent"),
        step("agent-exited"),
        step("stopped"),
    ];
    assert_eq!(ended.events.len(), steps.len(), "{:?}", ended.events);
    for (nth, wanted) in steps.into_iter().enumerate() {
        assert_eq!(position(&ended.events, wanted), nth);
    }
    let hooks: Vec<_> = ended.trace.iter().map(|h| (&*h.role, &*h.hook)).collect();
    assert_eq!(hooks[..2], [("agent", "start"), ("worker", "start")]);
    // Both are told at once.
    let mut told = [hooks[2], hooks[3]];
    told.sort_unstable();
    assert_eq!(told, [("agent", "egg_ready"), ("worker", "egg_ready")]);
    assert_eq!(
        hooks[4..],
        [("worker", "before_close"), ("agent", "before_close")]
    );
    assert!(ended.trace.iter().all(|hook| hook.pid == master));
}

#[test]
fn messages_go_both_ways_and_to_everybody() {
    let cluster = single(playground!()).start();
    assert_eq!(mail(&cluster, 0, &send("all", "b"))["accepted"], 2);
    assert_eq!(agent_mail(&cluster, &send("all", "b"))["accepted"], 2);
    assert_eq!(mail(&cluster, 0, &send("agent", "a"))["accepted"], 1);
    assert_eq!(agent_mail(&cluster, &send("slot:0", "w"))["accepted"], 1);
    wait::expect("each has what is for it", || {
        let agents = agent_mail(&cluster, &json!({ "do": "noted" }));
        texts(&agents, "worker 0") == ["b", "a"]
            && texts(&agents, "agent") == ["b"]
            && noted(&cluster, 0, "worker 0") == ["b"]
            && noted(&cluster, 0, "agent") == ["b", "w"]
    });
    let answer = mail(&cluster, 0, &ask("agent", "echo", "question"));
    assert_eq!(answer["answer"], "question", "{answer}");
    let answer = agent_mail(&cluster, &ask("slot:0", "echo", "back"));
    assert_eq!(answer["answer"], "back", "{answer}");
    let news = cluster.news();
    let me = cluster.master();
    assert!(
        news.iter()
            .any(|news| news.role == "worker" && news.agent == Some(me) && news.workers.len() == 1),
        "{news:?}"
    );
    cluster.stop();
}

#[test]
fn schedules_run_in_both() {
    let plan = playground!().schedules("w every=20; a every=20 agent; by-hand disabled");
    let cluster = single(plan).start();
    cluster.expect("both have had a turn", || {
        let begun = begun(&cluster);
        [("w", Some(0)), ("a", None)].iter().all(|(name, slot)| {
            let mut theirs = begun.iter().filter(|line| line.schedule == *name);
            theirs.any(|line| line.slot == *slot)
        })
    });
    let ran = cluster.verb(&["schedule", "run", "by-hand"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(lines(&cluster).iter().any(|l| l.schedule == "by-hand"));
    assert_eq!(cluster.status()["schedules"].as_array().unwrap().len(), 3);
    cluster.stop();
}

#[test]
fn the_state_is_shared() {
    let cluster = single(playground!()).start();
    let add = json!({ "do": "add", "key": "n", "by": 2 }).to_string();
    for expected in [2, 4] {
        let head = "POST /state HTTP/1.1\r\nHost: playground\r\nContent-Type: application/json\r\n";
        let length = add.len();
        let mut connection = cluster.connect();
        let request = format!("{head}Content-Length: {length}\r\n\r\n{add}");
        connection.send(request.as_bytes()).unwrap();
        let response = connection.receive().unwrap();
        assert_eq!(response.text(), expected.to_string());
    }
    cluster.stop();
}

#[test]
fn every_kind_of_address_is_served() {
    let plan = playground!();
    let path = plan.path("app.sock");
    let unix = format!("unix:{}?mode=0600", path.display());
    let cluster = single(plan)
        .listen("127.0.0.1:0?backlog=64")
        .listen("[::1]:0")
        .listen(unix)
        .start();
    let status = cluster.status();
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 3);
    for listener in listeners {
        assert_eq!(listener["strategy"], "shared");
        if let Ok(address) = listener["address"].as_str().unwrap().parse() {
            assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
        }
    }
    let mut connection = http::connect_unix(&path).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    cluster.stop();
    assert!(!path.exists());
}

#[test]
fn lines_of_the_log_say_whose_they_are() {
    let plan = playground!();
    let log = plan.path("log");
    let cluster = single(plan).flag("--log-file", &log).start();
    let has = |path: &std::path::Path, line: &str| {
        fs::read_to_string(path).is_ok_and(|text| text.contains(line))
    };
    let me = cluster.master();
    let of_worker = format!(" INFO worker 0 [pid {me} gen 1] playground::routes: logged ");
    cluster.get("/say/one");
    assert!(has(&log, &format!("{of_worker}one")), "{log:?}");
    wait::expect("the master says", || {
        has(&log, &format!(" INFO master [pid {me} gen 1] "))
    });
    // Moved away, and opened again: for both at once.
    let old = cluster.plan().path("old");
    fs::rename(&log, &old).unwrap();
    cluster.signal(Signal::USR1);
    wait::expect("a new file", || has(&log, "the log file was opened again"));
    cluster.get("/say/two");
    assert!(has(&log, &format!("{of_worker}two")));
    assert!(has(&log, "said two\n") && !has(&old, "two"));
    cluster.stop();
}

#[test]
fn operators_see_it_and_stop_it() {
    let cluster = single(playground!()).start();
    let (status, me) = (cluster.status(), cluster.master());
    assert_eq!(status["state"], "ready");
    for who in ["master", "agent"] {
        assert_eq!(status[who]["pid"], me);
    }
    assert_eq!(status["workers"][0]["pid"], me);
    assert_eq!(status["workers"].as_array().unwrap().len(), 1);
    wait::expect("beats carry what is counted", || {
        cluster.get("/");
        cluster.status()["workers"][0]["requests"].as_u64().unwrap() > 0
    });
    let metrics = cluster.verb(&["metrics"]);
    assert!(
        metrics.stdout.contains("hatchery_worker"),
        "{}",
        metrics.stdout
    );
    let stopped = cluster.verb(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    cluster.expect_exit().expect_code(0);
}

#[test]
fn in_the_background_too() {
    let daemon = single(playground!()).arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let status = daemon.verb(&["status", "--json"]).json();
    assert_eq!(status["master"]["pid"], status["workers"][0]["pid"]);
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
    assert!(daemon.survivors().gone_within(PATIENCE));
}

#[test]
fn ctrl_c_lets_a_request_finish() {
    let cluster = single(playground!()).start();
    let mut connection = cluster.connect();
    connection.ask("/sleep/2500").unwrap();
    cluster.expect_status("it is in flight", |status| {
        status["workers"][0]["in_flight"] == 1
    });
    kill_group(cluster.master(), Signal::INT);
    assert_eq!(connection.receive().unwrap().text(), "slept 2500 ms");
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    assert_eq!(count(&ended.events, "stopping"), 1);
    assert_eq!(ended.hooks("before_close").len(), 2);
}

/// What the author's code starts is its own to wait for, and goes with the process.
#[test]
fn what_was_started_is_taken_along() {
    let cluster = single(playground!()).start();
    assert_eq!(cluster.get("/run"), "exit status: 0");
    let child: u32 = cluster.get("/child").parse().unwrap();
    assert!(process::is_alive(child));
    cluster.stop();
    assert!(!process::is_alive(child));
}

#[test]
fn a_socket_of_the_service_manager_is_served() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let cluster: Cluster = single(playground!().inherit(&socket).listen("systemd")).start();
    drop(socket);
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    let ended = cluster.stop();
    ended.expect_stop_within(Duration::from_secs(1));
}
