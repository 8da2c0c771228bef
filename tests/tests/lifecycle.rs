//! The order of the lifecycle, event by event and hook by hook.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_tests::event::{count, position};
use hatchery_tests::http::Connection;
use hatchery_tests::loopback::unique_address;
use hatchery_tests::process::environment;
use hatchery_tests::wait::{LATE, PATIENCE, until};
use hatchery_tests::{Event, http, playground, step};

/// A whole life: agent, workers, everybody ready; then workers, agent, master.
fn lives_in_order(workers: u32) {
    let cluster = playground!().workers(workers).start();
    cluster.wait_hooks("egg_ready", workers as usize + 1);
    let ended = cluster.stop();
    let events = &ended.events;
    assert_eq!(events[0].event, "master-started");
    assert_eq!(events[events.len() - 1].event, "stopped");

    let agent_spawned = position(events, "agent-spawned");
    let agent_ready = position(events, "agent-ready");
    let egg_ready = position(events, "egg-ready");
    let stopping = position(events, "stopping");
    let agent_draining = position(events, step("draining").role("agent"));
    let agent_exited = position(events, "agent-exited");
    assert!(agent_spawned < agent_ready && egg_ready < stopping && agent_draining < agent_exited);
    for slot in 0..workers {
        let spawned = position(events, step("worker-spawned").slot(slot));
        let ready = position(events, step("worker-ready").slot(slot));
        let draining = position(events, step("draining").slot(slot));
        let exited = position(events, step("worker-exited").slot(slot));
        assert!(
            agent_ready < spawned,
            "workers rely on what the agent prepared"
        );
        assert!(spawned < ready && ready < egg_ready);
        assert!(stopping < draining && draining < exited && exited < agent_draining);
    }
    // Each step was found, and there is no other: nothing happens twice, nothing is made up.
    let per_life = [
        ("master-started", 1),
        ("agent-spawned", 1),
        ("agent-ready", 1),
        ("worker-spawned", workers as usize),
        ("worker-ready", workers as usize),
        ("egg-ready", 1),
        ("stopping", 1),
        ("draining", workers as usize + 1),
        ("worker-exited", workers as usize),
        ("agent-exited", 1),
        ("stopped", 1),
    ];
    for (name, times) in per_life {
        assert_eq!(count(events, name), times, "{name}");
    }
    assert_eq!(
        events.len(),
        per_life.iter().map(|(_, times)| times).sum::<usize>()
    );
    for pair in events.windows(2) {
        assert!(
            pair[0].ts_ms <= pair[1].ts_ms,
            "time goes forward: {pair:?}"
        );
    }
    for event in events {
        assert_eq!(event.generation, 1, "{event:?}");
        assert_eq!(event.slot.is_some(), event.role == "worker", "{event:?}");
        assert_eq!(same_process(events, event), event.pid, "{event:?}");
    }

    // The same order, as the hooks saw it.
    let starts = ended.hooks("start");
    let ready = ended.hooks("egg_ready");
    let closes = ended.hooks("before_close");
    let everybody = workers as usize + 1;
    assert_eq!(
        (starts.len(), ready.len(), closes.len()),
        (everybody, everybody, everybody)
    );
    assert_eq!(starts[0].1.role, "agent");
    assert_eq!(closes[everybody - 1].1.role, "agent");
    assert!(
        starts[everybody - 1].0 < ready[0].0,
        "everybody starts before anybody is told"
    );
    for (_, start) in &starts {
        for hooks in [&ready, &closes] {
            let times = hooks
                .iter()
                .filter(|(_, hook)| hook.pid == start.pid)
                .count();
            assert_eq!(times, 1, "once in the life of {start:?}");
        }
    }
}

/// The process that was spawned for the seat that an event is about.
fn same_process(events: &[Event], event: &Event) -> Option<u32> {
    let spawned = match event.role.as_str() {
        "agent" => step("agent-spawned"),
        "worker" => step("worker-spawned").slot(event.slot?),
        _ => return event.pid,
    };
    events[position(events, spawned)].pid
}

#[test]
fn one_worker_lives_in_order() {
    lives_in_order(1);
}

#[test]
fn two_workers_live_in_order() {
    lives_in_order(2);
}

#[test]
fn eight_workers_live_in_order() {
    lives_in_order(8);
}

#[test]
fn thirty_two_workers_live_in_order() {
    lives_in_order(32);
}

#[test]
fn no_worker_is_spawned_before_a_slow_agent_is_ready() {
    let cluster = playground!().agent_start("slow:700").start();
    let events = cluster.events();
    let agent_spawned = &events[position(&events, "agent-spawned")];
    let first_worker = &events[position(&events, "worker-spawned")];
    assert!(
        first_worker.ts_ms >= agent_spawned.ts_ms + 700,
        "{events:?}"
    );
}

#[test]
fn nobody_connects_before_every_worker_is_ready() {
    let address = unique_address();
    let cluster = playground!()
        .workers(2)
        .agent_start("slow:200")
        .worker_start("slow:400")
        .only_slot(1)
        .listen(address)
        .launch();
    let mut refused = 0u32;
    let connected = until(PATIENCE, || match http::connect(address) {
        Ok(_) => Some(millis(monotonic())),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
            refused += 1;
            None
        }
    })
    .unwrap();
    assert!(refused > 0);
    for slot in 0..2 {
        let ready = cluster.wait(step("worker-ready").slot(slot));
        assert!(
            ready.ts_ms <= connected,
            "{ready:?}, but connected at {connected}"
        );
    }
    cluster.wait("egg-ready");
}

#[test]
fn whoever_connects_first_is_served_at_once() {
    let cluster = playground!().start();
    assert_eq!(cluster.get("/"), "Hello World");
    let mut connection = cluster.connect();
    let who = connection.whoami().unwrap();
    assert_eq!((who.role.as_str(), who.generation), ("worker", 1));
    assert_eq!(who.pid, cluster.worker(who.slot));
    let body = vec![b'x'; 300_000];
    assert_eq!(connection.post("/echo", &body).unwrap().body, body);
}

#[test]
fn every_address_is_served() {
    let plan = playground!();
    let socket = plan.path("app.sock");
    let cluster = plan
        .listen("127.0.0.1:0")
        .listen("[::1]:0")
        .listen(format!("unix:{}", socket.display()))
        .start();
    let status = cluster.status();
    let addresses: Vec<&str> = status["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listener| listener["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses.len(), 3);
    for address in &addresses[..2] {
        let response = http::get(address.parse().unwrap(), "/").unwrap();
        assert_eq!(response.text(), "Hello World", "{address}");
    }
    assert_eq!(addresses[2], format!("unix:{}", socket.display()));
    let mut connection = http::connect_unix(&socket).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    let ready = cluster.wait("egg-ready");
    for address in addresses {
        assert!(ready.why().contains(address), "{ready:?}");
    }
}

#[test]
fn an_address_is_served_and_no_other_of_the_host() {
    let address = unique_address();
    let cluster = playground!().listen(address).start();
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    let another = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    let refused = http::connect(another).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    cluster.stop();
}

/// With this limit at half a second, a client that does this is let go after as long.
fn is_let_go(limit: &str, does: impl FnOnce(&mut Connection)) {
    let cluster = playground!().workers(1).flag(limit, "500ms").start();
    let mut client = cluster.connect();
    does(&mut client);
    let begin = Instant::now();
    client.drain();
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(400) && took < Duration::from_millis(500) + LATE,
        "{took:?}"
    );
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

#[test]
fn a_client_that_does_not_finish_its_header_is_let_go() {
    is_let_go("--header-timeout", |client| {
        client.send(b"GET / HTTP/1.1\r\nHost: pl").unwrap();
    });
}

#[test]
fn a_client_that_does_not_finish_a_later_header_is_let_go() {
    is_let_go("--header-timeout", |client| {
        client.get("/").unwrap();
        client.send(b"GET / HTTP/1.1\r\nHost: pl").unwrap();
    });
}

#[test]
fn a_client_that_is_idle_is_let_go() {
    is_let_go("--idle-timeout", |client| drop(client.get("/").unwrap()));
}

#[test]
fn a_header_that_is_too_long_is_refused() {
    let cluster = playground!()
        .workers(1)
        .flag("--max-header-size", "8KiB")
        .start();
    let mut client = cluster.connect();
    let line = format!(
        "GET / HTTP/1.1\r\nHost: pl\r\nX: {}\r\n\r\n",
        "x".repeat(9000)
    );
    client.send(line.as_bytes()).unwrap();
    assert_eq!(client.receive_head().unwrap().status, 431);
    cluster.stop();
}

#[test]
fn a_connection_brings_so_many_requests() {
    let cluster = playground!()
        .workers(1)
        .flag("--max-requests-per-connection", "2")
        .start();
    let mut client = cluster.connect();
    assert!(!client.get("/").unwrap().closes());
    assert!(client.get("/").unwrap().closes());
    assert!(client.drain().is_empty());
    cluster.stop();
}

#[test]
fn whoever_finds_a_full_worker_waits_for_it() {
    let cluster = playground!()
        .workers(1)
        .flag("--max-connections", "1")
        .start();
    let mut first = cluster.connect();
    assert_eq!(first.get("/").unwrap().text(), "Hello World");
    let mut second = cluster.connect();
    second.ask("/").unwrap();
    assert_eq!(first.get("/").unwrap().text(), "Hello World");
    // As of the last beat.
    cluster.expect_status("one connection", |status| {
        status["workers"][0]["connections"] == 1
    });
    drop(first);
    assert_eq!(second.receive().unwrap().text(), "Hello World");
    cluster.stop();
}

#[test]
fn a_service_manager_is_told_when_everybody_is_ready_and_when_it_ends() {
    let plan = playground!().worker_start("slow:300");
    let path = plan.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let cluster = plan.env("NOTIFY_SOCKET", path).launch();
    let receive = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let first = std::iter::repeat_with(receive)
        .find(|message| message.lines().any(|line| line == "READY=1"));
    let told = millis(monotonic());
    assert!(first.is_some());
    let ready = cluster.wait("egg-ready");
    // Told after the fact, but recorded perhaps a moment later.
    assert!(ready.ts_ms <= told + 100, "told at {told}, {ready:?}");
    cluster.wait_hooks("start", 3);
    cluster.stop();
    let last = std::iter::repeat_with(receive)
        .find(|message| message.lines().any(|line| line == "STOPPING=1"));
    assert!(last.is_some());
}

#[test]
fn children_and_their_children_inherit_nothing_of_the_masters_environment_for_itself() {
    let plan = playground!();
    let path = plan.path("notify");
    let _manager = UnixDatagram::bind(&path).unwrap();
    let cluster = plan.workers(1).env("NOTIFY_SOCKET", path).start();
    for pid in cluster.everybody() {
        assert!(!environment(pid).contains("NOTIFY_SOCKET"), "{pid}");
    }
    let grandchild = cluster.get("/child").trim().parse().unwrap();
    let environment = environment(grandchild);
    for name in ["HATCHERY_CHILD_", "NOTIFY_SOCKET"] {
        assert!(!environment.contains(name), "{name} in {environment}");
    }
}

#[test]
fn egg_ready_comes_exactly_once_to_each_process_even_when_others_are_replaced() {
    let cluster = playground!().start();
    cluster.wait_hooks("egg_ready", 3);
    hatchery_tests::process::kill(cluster.worker(0), rustix::process::Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    hatchery_tests::process::kill(cluster.agent(), rustix::process::Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    let mut pids: Vec<u32> = cluster
        .wait_hooks("egg_ready", 5)
        .iter()
        .map(|hook| hook.pid)
        .collect();
    // Whoever was told twice would have been told by the time its last one is closed.
    let ended = cluster.expect_orderly_end();
    assert_eq!(ended.hooks("egg_ready").len(), 5);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5);
    assert_eq!(
        count(&ended.events, "egg-ready"),
        1,
        "once in a master's life"
    );
}

#[test]
fn a_start_is_as_fast_as_its_slowest_worker() {
    let cluster = playground!().workers(8).worker_start("slow:2000").start();
    let events = cluster.events();
    let agent = events[position(&events, "agent-ready")].ts_ms;
    let ready = events[position(&events, "egg-ready")].ts_ms;
    // Eight times two seconds, one after the other, would be sixteen.
    let took = Duration::from_millis(ready - agent);
    assert!(
        took < Duration::from_secs(2) + LATE,
        "workers start in parallel: {took:?}"
    );
}
