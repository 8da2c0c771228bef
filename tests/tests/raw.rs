//! A protocol of the application's own beside HTTP: a worker takes the connections of a listener itself.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_tests::lines::{self, Lines};
use hatchery_tests::listeners::{accepted, address};
use hatchery_tests::outage::Outage;
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{http, playground, process, step};
use rustix::process::Signal;

#[test]
fn one_listener_speaks_lines_and_another_http() {
    let cluster = playground!()
        .listen("127.0.0.1:0?name=raw")
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?name=nobody-takes-this")
        .start();
    let mut client = lines::connect(address(&cluster, 0));
    assert_eq!(client.ask("hello"), "hello");
    for n in [1, 2] {
        let answer = http::get(address(&cluster, n), "/").unwrap();
        assert_eq!(answer.text(), "Hello World");
    }
    // It does not understand HTTP, and needs not to.
    assert_eq!(client.ask("GET / HTTP/1.1"), "GET / HTTP/1.1");
    drop(client);
    cluster.stop();
}

#[test]
fn every_strategy_brings_them() {
    let strategies = [
        "round-robin",
        "least-connections",
        "weighted",
        "ip-hash",
        "shared",
        "reuse-port",
    ];
    let plan = strategies.iter().fold(playground!(), |plan, strategy| {
        plan.listen(format!("127.0.0.1:0?name=raw&strategy={strategy}"))
    });
    let cluster = plan.listen("127.0.0.1:0").start();
    for (n, strategy) in strategies.iter().enumerate() {
        let mut clients: Vec<Lines> = (0..8)
            .map(|_| lines::connect(address(&cluster, n)))
            .collect();
        for client in &mut clients {
            assert_eq!(client.ask("hello"), "hello", "{strategy}");
        }
    }
    let web = address(&cluster, strategies.len());
    assert_eq!(http::get(web, "/").unwrap().text(), "Hello World");
    cluster.stop();
}

#[test]
fn every_worker_takes_them() {
    let cluster = playground!()
        .workers(3)
        .listen("127.0.0.1:0?name=raw-busy&strategy=shared")
        .start();
    let address = address(&cluster, 0);
    // Each worker serves one client at a time, so three clients at once have three workers.
    let mut clients: Vec<Lines> = (0..3).map(|_| lines::connect(address)).collect();
    let pids: BTreeSet<u32> = clients.iter_mut().map(|c| c.whoami().pid).collect();
    let workers = (0..3).map(|slot| cluster.worker(slot)).collect();
    assert_eq!(pids, workers);
}

#[test]
fn a_worker_takes_only_what_it_asks_for() {
    let cluster = playground!()
        .listen("127.0.0.1:0?name=raw-busy&strategy=shared")
        .start();
    let address = address(&cluster, 0);
    let mut first = lines::connect(address);
    let mut second = lines::connect(address);
    let mut third = lines::connect(address);
    third.send("whoami").unwrap();
    let busy = (first.whoami(), second.whoami());
    assert_ne!(busy.0.pid, busy.1.pid);
    // The third waits in the kernel's queue: nobody has accepted it.
    cluster.expect_status("both are counted", |status| {
        status["listeners"][0]["accepted"] == 2
    });
    drop(first);
    let answer = third.receive().unwrap();
    assert!(
        answer.starts_with(&format!("{} {} ", busy.0.slot, busy.0.pid)),
        "{answer}: the one that is free takes it"
    );
    drop((second, third));
    cluster.stop();
}

#[test]
fn clients_are_known_by_their_address() {
    let plan = playground!();
    let path = plan.path("lines.sock");
    let cluster = plan
        .listen("127.0.0.1:0?name=raw")
        .listen(format!("unix:{}?name=raw", path.display()))
        .start();
    let mut tcp = lines::connect(address(&cluster, 0));
    let ours = tcp.stream().local_addr().unwrap().to_string();
    assert_eq!(tcp.whoami().peer, ours);
    // The same name a second time: the same service.
    let mut unix = Lines::new(UnixStream::connect(path).unwrap()).unwrap();
    assert_eq!(unix.whoami().peer, "nowhere");
}

#[test]
fn they_count_as_connections() {
    let cluster = playground!()
        .workers(1)
        .listen("127.0.0.1:0?name=raw")
        .listen("127.0.0.1:0")
        .start();
    let connections = |n: u64| {
        cluster.expect_status("as many connections", |status| {
            status["workers"][0]["connections"] == n
        });
    };
    let mut clients: Vec<Lines> = (0..3)
        .map(|_| lines::connect(address(&cluster, 0)))
        .collect();
    for client in &mut clients {
        client.ask("hello");
    }
    connections(3);
    clients.truncate(1);
    connections(1);
    drop(clients);
    connections(0);
    assert_eq!((accepted(&cluster, 0), accepted(&cluster, 1)), (3, 0));
}

#[test]
fn nothing_is_accepted_before_everybody_is_ready() {
    // A listener that is open all the while, as a service manager's is.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let cluster = playground!()
        .inherit(&socket)
        .listen("systemd?name=raw")
        .worker_start("slow:700")
        .only_slot(1)
        .launch();
    let address = socket.local_addr().unwrap();
    cluster.wait(step("worker-ready").slot(0));
    let mut early = lines::connect(address);
    early.whoami();
    // Not what the file has: an event may reach it later than what it tells of.
    let answered = millis(monotonic());
    let ready = cluster.wait_nth("worker-ready", 2);
    assert!(
        ready.ts_ms <= answered,
        "{ready:?}, and an answer at {answered}"
    );
    drop(early);
    cluster.stop();
}

#[test]
fn clients_are_told_that_the_worker_leaves() {
    let cluster = playground!().listen("127.0.0.1:0?name=raw").start();
    let mut clients: Vec<Lines> = (0..4)
        .map(|_| lines::connect(address(&cluster, 0)))
        .collect();
    for client in &mut clients {
        client.ask("hello");
    }
    cluster.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.receive().as_deref(), Some("bye"));
        assert_eq!(client.receive(), None);
    }
    // After the lame duck, and not at the deadline.
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    assert_eq!(ended.hooks("before_close").len(), 3);
}

#[test]
fn whoever_does_not_listen_is_cut_off_at_the_deadline() {
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", "1s")
        .listen("127.0.0.1:0?name=raw-deaf")
        .start();
    let mut client = lines::connect(address(&cluster, 0));
    client.ask("hello");
    cluster.signal(Signal::TERM);
    assert_eq!(client.receive(), None);
    let ended = cluster.expect_exit();
    ended
        .expect_code(0)
        .expect_stderr(&["1 connections are cut off"])
        .expect_stop_within(Duration::from_secs(1));
    let exited = ended.events.iter().find(|e| e.event == "worker-exited");
    assert_eq!(
        exited.unwrap().why(),
        "exited with code 0",
        "it was not killed"
    );
}

#[test]
fn those_who_wait_when_a_stop_begins_are_still_taken() {
    let cluster = playground!()
        .workers(1)
        .listen("127.0.0.1:0?name=raw-busy&strategy=shared")
        .start();
    let address = address(&cluster, 0);
    let mut first = lines::connect(address);
    first.ask("hello");
    let mut second = lines::connect(address);
    cluster.signal(Signal::TERM);
    assert_eq!(first.receive().as_deref(), Some("bye"));
    assert_eq!(second.receive().as_deref(), Some("bye"), "not reset");
    cluster.expect_exit().expect_code(0);
}

#[test]
fn nobody_is_refused_while_every_worker_is_dead() {
    let plan = playground!().with_outages();
    let path = plan.path("app.sock");
    let cluster = plan
        .listen("127.0.0.1:0?name=raw")
        .listen("[::1]:0")
        .listen(format!("unix:{}", path.display()))
        .start();
    let (raw, tcp) = (address(&cluster, 0), address(&cluster, 1));
    let outage = Outage::begin(&cluster, 2);
    // A connect is the kernel's answer: it waits for nobody.
    let mut lines: Vec<Lines> = (0..10).map(|_| lines::connect(raw)).collect();
    let mut http: Vec<_> = (0..10).map(|_| http::connect(tcp).unwrap()).collect();
    let mut unix: Vec<_> = (0..10)
        .map(|_| http::connect_unix(&path).unwrap())
        .collect();
    outage.end();
    for client in &mut lines {
        client.whoami();
    }
    for client in &mut http {
        assert_eq!(client.get("/").unwrap().text(), "Hello World");
    }
    for client in &mut unix {
        assert_eq!(client.get("/").unwrap().text(), "Hello World");
    }
    drop((lines, http, unix));
    cluster.expect_orderly_end();
}

#[test]
fn a_connection_dies_with_its_worker_and_the_next_goes_to_another() {
    let cluster = playground!().listen("127.0.0.1:0?name=raw").start();
    let address = address(&cluster, 0);
    let mut client = lines::connect(address);
    let who = client.whoami();
    process::kill(who.pid, Signal::KILL);
    assert_eq!(client.receive(), None);
    cluster.wait(step("worker-replaced").slot(who.slot));
    let seen = until(PATIENCE, || {
        let now = lines::connect(address).whoami();
        (now.slot == who.slot).then_some(now)
    });
    assert_ne!(seen.unwrap().pid, who.pid);
    cluster.stop();
}
