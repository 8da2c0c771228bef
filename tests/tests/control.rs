//! The operator's socket: what it tells, whom, and what rude clients cannot do to it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::io::IoSlice;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use hatchery_tests::command::run;
use hatchery_tests::control::Control;
use hatchery_tests::plan::NOBODY;
use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, Event, playground, step};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use serde_json::{Value, json};

// What it tells.

#[test]
fn status_has_every_field_that_scripts_may_rely_on() {
    let cluster = playground!().workers(2).start();
    let (mut connection, who) = cluster.connect_to(1);
    connection.whoami().unwrap();
    let ran = cluster.verb(&["status", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let status = ran.json();
    assert_eq!(status["name"], "playground");
    assert_eq!(status["state"], "ready");
    assert_eq!(status["generation"], 1);
    assert!(status["uptime_ms"].is_u64());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let master = json!({ "pid": cluster.master(), "background": false });
    assert_eq!(status["master"], master);
    let agent = json!({ "pid": cluster.agent(), "state": "ready", "restarts": 0 });
    for (key, value) in agent.as_object().unwrap() {
        assert_eq!(&status["agent"][key], value, "{key}");
    }
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    for (slot, worker) in (0..).zip(workers) {
        assert_eq!(worker["slot"], slot);
        assert_eq!(worker["pid"], cluster.worker(slot));
        assert_eq!(worker["state"], "ready");
        assert_eq!(worker["generation"], 1);
        assert_eq!(worker["restarts"], 0);
        for number in ["connections", "in_flight", "requests", "lag_ms"] {
            assert!(worker[number].is_u64(), "{number}: {worker}");
        }
        assert!(
            worker["rss_bytes"].as_u64().unwrap() > 1_000_000,
            "{worker}"
        );
        assert_eq!(worker["last_exit"], Value::Null);
    }
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0]["address"], cluster.address().to_string());
    assert!(listeners[0]["strategy"].is_string());
    assert!(listeners[0]["accepted"].is_u64());
    // Gauges come with the next beat.
    cluster.expect_status("requests and connections are counted", |status| {
        let worker = &status["workers"][1];
        worker["requests"].as_u64() >= Some(2)
            && worker["connections"].as_u64() >= Some(1)
            && status["listeners"][0]["accepted"].as_u64() >= Some(1)
    });
    connection.ask("/sleep/600000").unwrap();
    cluster.expect_status("a request is in flight", |status| {
        status["workers"][1]["in_flight"] == 1
    });
    kill(who.pid, Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    let worker = &cluster.status()["workers"][1];
    assert_eq!(worker["restarts"], 1);
    assert!(worker["last_exit"].as_str().unwrap().contains("signal 9"));
    cluster.stop();
}

#[test]
fn status_is_readable_by_people() {
    let cluster = playground!().start();
    let ran = cluster.verb(&["status"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for pid in cluster.everybody() {
        assert!(
            ran.stdout.contains(&pid.to_string()),
            "{pid} in {}",
            ran.stdout
        );
    }
    for word in [
        "playground",
        "ready",
        "agent",
        &cluster.address().to_string(),
    ] {
        assert!(ran.stdout.contains(word), "{word} in {}", ran.stdout);
    }
    assert!(ran.stderr.is_empty(), "{ran:?}");
    cluster.stop();
}

#[test]
fn status_tells_how_far_a_start_is() {
    let plan = playground!().agent_start("slow:1000").worker_start("hang");
    let cluster = plan.launch();
    cluster.wait("agent-spawned");
    let status = cluster.status();
    assert_eq!(status["state"], "starting");
    assert_eq!(status["agent"]["state"], "booting");
    assert_eq!(status["workers"][0]["state"], "waiting");
    assert_eq!(status["workers"][0]["pid"], Value::Null);
    cluster.wait(step("worker-spawned").slot(1));
    let status = cluster.status();
    assert_eq!(
        (&status["state"], &status["agent"]["state"]),
        (&json!("starting"), &json!("ready"))
    );
    assert_eq!(status["workers"][0]["state"], "booting");
    cluster.stop();
}

#[test]
fn status_tells_how_far_a_stop_is() {
    let cluster = playground!().before_close("slow:1000").start();
    cluster.signal(Signal::TERM);
    cluster.wait(step("draining").slot(1));
    let status = cluster.status();
    assert_eq!(status["state"], "stopping");
    assert_eq!(status["workers"][0]["state"], "draining");
    assert_eq!(status["agent"]["state"], "ready");
    cluster.expect_exit().expect_code(0);
}

#[test]
fn commands_say_when_there_is_nobody_to_ask() {
    let plan = playground!();
    for verb in ["status", "stop", "events"] {
        let ran = plan.run_verb(&[verb]);
        assert_eq!(ran.code, Some(6), "{verb}: {ran:?}");
        assert!(
            ran.stderr.contains("not running") || ran.stderr.contains("does not run"),
            "{ran:?}"
        );
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn commands_do_not_wait_for_ever_for_a_master_that_is_suspended() {
    let cluster = playground!().flag("--master-timeout", "60s").start();
    cluster.signal(Signal::STOP);
    for verb in ["status", "stop"] {
        let ran = cluster.verb(&[verb]);
        assert!(ran.code.is_some_and(|code| code != 0), "{verb}: {ran:?}");
        assert!(ran.stderr.contains("did not answer"), "{verb}: {ran:?}");
    }
    cluster.signal(Signal::CONT);
    cluster.expect_status("it answers again", |status| status["master"].is_object());
    // The stop was never asked for: a command that failed has no effect later.
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

#[test]
fn events_can_be_followed_until_the_end() {
    let cluster = playground!().start();
    let output = cluster.plan().path("followed");
    let mut command = cluster.spawn_verb(&["events", "--json"], &output);
    let followed = || -> Vec<Event> {
        let text = fs::read_to_string(&output).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    // Whoever follows sees what happens from now on: make something happen until it is seen.
    cluster.expect("the follower sees events", || {
        kill(cluster.worker(0), Signal::KILL);
        !followed().is_empty()
    });
    let mark = cluster.mark();
    cluster.wait_since(mark.saturating_sub(1), "worker-ready");
    cluster.stop();
    let status = until(PATIENCE, || command.try_wait().unwrap()).unwrap();
    assert_eq!(
        status.code(),
        Some(0),
        "{}",
        fs::read_to_string(&output).unwrap()
    );
    let followed = followed();
    let all = cluster.events();
    assert_eq!(
        followed,
        all[all.len() - followed.len()..],
        "the same, in the same order, to the end"
    );
    assert_eq!(followed[followed.len() - 1].event, "stopped");
}

#[test]
fn a_follower_that_leaves_is_not_missed() {
    let cluster = playground!().start();
    for _ in 0..20 {
        let mut control = cluster.control();
        control.ask("events").unwrap();
    }
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

// Whom.

#[test]
fn the_control_socket_is_for_its_owner() {
    let cluster = playground!().start();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&cluster.control_path()), 0o600);
    assert_eq!(mode(&cluster.plan().runtime_dir()) & 0o077, 0);
    cluster.stop();
}

#[test]
fn another_user_is_refused_even_where_modes_would_let_him() {
    let plan = playground!().own_copy();
    let cluster = plan.start();
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let runtime_dir = cluster.plan().runtime_dir();
    open(runtime_dir.parent().unwrap(), 0o755);
    open(&runtime_dir, 0o755);
    open(&cluster.control_path(), 0o666);
    for verb in ["status", "stop"] {
        let id = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(cluster.plan().program())
            .args([verb, "--runtime-dir"])
            .arg(&runtime_dir);
        let ran = run(command);
        assert_ne!(ran.code, Some(0), "{verb}: {ran:?}");
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{verb}: {ran:?}"
        );
    }
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

// Rude clients.

/// Whatever was said, it is answered with an error or a close, and the next client is served.
fn is_turned_away(cluster: &Cluster, what: &str, say: impl FnOnce(&mut Control)) {
    let mut control = cluster.control();
    say(&mut control);
    if let Some(reply) = control.receive() {
        assert_eq!(reply["reply"], "error", "{what}: {reply}");
        assert!(!reply["message"].as_str().unwrap().is_empty(), "{what}");
        assert_eq!(control.receive(), None, "{what}: and then it is closed");
    }
    assert_eq!(cluster.status()["state"], "ready", "{what}");
}

#[test]
fn nonsense_is_turned_away() {
    let cluster = playground!().start();
    let bodies: [(&str, &[u8]); 7] = [
        ("an empty body", b""),
        ("no JSON", b"\xff\xfe"),
        ("half JSON", b"{\"request\":"),
        ("no request", b"{}"),
        ("an unknown request", b"{\"request\":\"explode\"}"),
        ("a request of another type", b"{\"request\":7}"),
        ("a list", b"[1,2,3]"),
    ];
    for (what, body) in bodies {
        is_turned_away(&cluster, what, |control| control.send_body(body).unwrap());
    }
    let deep = "[".repeat(60_000);
    is_turned_away(&cluster, "deep nesting", |control| {
        control.send_body(deep.as_bytes()).unwrap();
    });
    let raw: [(&str, &[u8]); 4] = [
        ("a length of 1 GiB", &[0x40, 0, 0, 0, 2, 0]),
        ("the largest length", &[0xff, 0xff, 0xff, 0xff, 2, 0]),
        ("an unknown kind", &[0, 0, 0, 0, 99, 0]),
        ("a kind of the links", &[0, 0, 0, 2, 1, 0, b'{', b'}']),
    ];
    for (what, bytes) in raw {
        is_turned_away(&cluster, what, |control| control.send(bytes).unwrap());
    }
    is_turned_away(&cluster, "HTTP", |control| {
        control.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    });
    cluster.stop();
}

#[test]
fn a_length_that_was_only_announced_costs_no_memory() {
    let cluster = playground!().start();
    let resident = || {
        let statm = fs::read_to_string(format!("/proc/{}/statm", cluster.master())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    let before = resident();
    let mut clients: Vec<Control> = (0..50).map(|_| cluster.control()).collect();
    for client in &mut clients {
        client.send(&[0x40, 0, 0, 0, 2, 0]).unwrap();
    }
    assert_eq!(cluster.status()["state"], "ready");
    assert!(resident() < before + 50_000_000);
    cluster.stop();
}

#[test]
fn clients_that_say_nothing_or_half_of_it_hold_up_nobody() {
    let cluster = playground!().flag("--drain-timeout", "20s").start();
    let _silent: Vec<Control> = (0..20).map(|_| cluster.control()).collect();
    let _half: Vec<Control> = (0..20)
        .map(|_| {
            let mut control = cluster.control();
            control.send(&[0, 0]).unwrap();
            control
        })
        .collect();
    let _deaf: Vec<Control> = (0..20)
        .map(|_| {
            let mut control = cluster.control();
            control.ask("events").unwrap();
            control
        })
        .collect();
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    assert_eq!(cluster.status()["state"], "ready");
    // And the stop does not wait for them.
    cluster.stop().expect_stop_within(Duration::ZERO);
}

/// What they write is thrown away, and takes its turn like everything else.
#[test]
fn clients_that_never_stop_writing_hold_up_nobody() {
    let cluster = playground!().start();
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let mut control = cluster.control();
            control.ask("events").unwrap();
            thread::spawn(move || {
                let nonsense = vec![0; 1 << 16];
                while control.send(&nonsense).is_ok() {}
            })
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(cluster.status()["state"], "ready");
    }
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    assert!(floods.iter().all(|flood| !flood.is_finished()));
    cluster.stop();
    for flood in floods {
        flood.join().unwrap();
    }
}

#[test]
fn a_hundred_clients_at_once_are_all_answered() {
    let cluster = playground!().start();
    let path = cluster.control_path();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                let mut control = Control::connect(&path).unwrap();
                control.ask("status").unwrap();
                control.receive().unwrap()["state"].clone()
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), "ready");
    }
    cluster.stop();
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let cluster = playground!().start();
    let master = cluster.master();
    assert_eq!(cluster.status()["state"], "ready");
    let before = process::descriptors(master);
    let null = fs::File::open("/dev/null").unwrap();
    let clients: Vec<UnixStream> = (0..5)
        .map(|_| {
            let stream = UnixStream::connect(cluster.control_path()).unwrap();
            let fds = [null.as_fd(); 20];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(
                &stream,
                &[IoSlice::new(&[0, 0])],
                &mut ancillary,
                SendFlags::empty(),
            )
            .unwrap();
            stream
        })
        .collect();
    // One each for the clients themselves, and not one hundred more.
    cluster.expect("they are closed", || {
        process::descriptors(master) <= before + clients.len()
    });
    drop(clients);
    cluster.stop();
}
