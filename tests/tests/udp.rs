//! UDP sockets that the master binds and every worker has.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_tests::listeners::{address, addresses};
use hatchery_tests::loopback::unique_address;
use hatchery_tests::outage::Outage;
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Plan, http, playground, step};

/// A client that hears from this address alone.
fn client(address: SocketAddr) -> UdpSocket {
    let any = if address.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let client = UdpSocket::bind(any).unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// The next answer: slot, pid and what was sent.
#[track_caller]
fn receive(client: &UdpSocket) -> (u32, u32, String) {
    let mut datagram = [0; 2048];
    let length = client.recv(&mut datagram).unwrap();
    let text = std::str::from_utf8(&datagram[..length]).unwrap();
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    (
        word().parse().unwrap(),
        word().parse().unwrap(),
        word().to_owned(),
    )
}

#[track_caller]
fn ask(client: &UdpSocket, text: &str) -> (u32, u32) {
    client.send(text.as_bytes()).unwrap();
    let (slot, pid, answer) = receive(client);
    assert_eq!(answer, text);
    (slot, pid)
}

fn plan() -> Plan {
    playground!()
        .listen("udp:127.0.0.1:0?name=datagrams")
        .listen("127.0.0.1:0")
}

#[test]
fn workers_answer_from_the_address_that_was_asked() {
    let cluster = plan().start();
    let address = address(&cluster, 0);
    // It hears nobody else, and so it heard from this address.
    let client = client(address);
    let (slot, pid) = ask(&client, "hello");
    assert_eq!(pid, cluster.worker(slot));
    cluster.stop();
}

#[test]
fn every_worker_gets_some() {
    let cluster = plan().workers(4).start();
    cluster.wait_hooks("egg_ready", 5);
    let client = client(address(&cluster, 0));
    let mut seen = BTreeSet::new();
    let all = until(PATIENCE, || {
        // Several at once: one alone always finds the worker that was quickest.
        for n in 0..32 {
            client.send(format!("{n}").as_bytes()).unwrap();
        }
        seen.extend((0..32).map(|_| receive(&client).0));
        (seen.len() == 4).then_some(())
    });
    assert!(all.is_some(), "only {seen:?}");
}

#[test]
fn it_is_shown_as_what_it_is() {
    let cluster = plan().start();
    let shown = addresses(&cluster);
    assert!(shown[0].starts_with("udp:127.0.0.1:"), "{shown:?}");
    assert_ne!(address(&cluster, 0).port(), 0);
    let listener = &cluster.status()["listeners"][0];
    assert_eq!(listener["strategy"], "shared");
    let ready = cluster.wait("egg-ready");
    assert!(ready.why().contains(&shown[0]), "{ready:?}");
    // There is no HTTP on it, and no TCP at all.
    assert!(TcpStream::connect(address(&cluster, 0)).is_err());
    assert_eq!(cluster.get("/"), "Hello World");
    let table = cluster.verb(&["status"]);
    assert!(table.stdout.contains(&shown[0]), "{table:?}");
}

#[test]
fn tcp_and_udp_have_one_port() {
    let address = unique_address();
    let cluster = playground!()
        .listen(format!("udp:{address}?name=datagrams"))
        .listen(address)
        .start();
    ask(&client(address), "hello");
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    cluster.stop();
}

#[test]
fn what_comes_while_every_worker_is_dead_waits_for_the_next() {
    let cluster = plan().with_outages().start();
    let client = client(address(&cluster, 0));
    let outage = Outage::begin(&cluster, 2);
    client.send(b"anybody there?").unwrap();
    outage.end();
    let (slot, pid, text) = receive(&client);
    assert_eq!(text, "anybody there?");
    cluster.wait(step("worker-spawned").slot(slot).pid(pid));
    assert_eq!(pid, cluster.worker(slot));
    cluster.expect_orderly_end();
}

#[test]
fn what_comes_before_everybody_is_ready_waits() {
    let address = unique_address();
    let cluster = playground!()
        .listen(format!("udp:{address}?name=datagrams"))
        .worker_start("slow:700")
        .only_slot(1)
        .launch();
    cluster.wait(step("worker-ready").slot(0));
    ask(&client(address), "early");
    // Not what the file has: an event may reach it later than what it tells of.
    let answered = millis(monotonic());
    let ready = cluster.wait_nth("worker-ready", 2);
    assert!(
        ready.ts_ms <= answered,
        "{ready:?}, and an answer at {answered}"
    );
    cluster.stop();
}

#[test]
fn an_address_in_use_ends_the_start() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp:{}", taken.local_addr().unwrap());
    let ended = playground!().listen(&address).run_to_end();
    ended
        .expect_code(5)
        .expect_stderr(&[&address, "in use"])
        .expect_no("agent-spawned");
}

#[test]
fn two_clusters_cannot_have_one() {
    let first = plan().start();
    let address = addresses(&first)[0].clone();
    let ended = playground!().listen(&address).run_to_end();
    ended.expect_code(5).expect_stderr(&[&address, "in use"]);
    ask(&client(self::address(&first, 0)), "still there");
    first.stop();
}

#[test]
fn the_address_is_free_when_the_master_is_gone() {
    let cluster = plan().start();
    let address = address(&cluster, 0);
    ask(&client(address), "hello");
    cluster.stop();
    UdpSocket::bind(address).unwrap();
}

#[test]
fn ipv6_leaves_ipv4_to_others_unless_it_is_told_to_take_it() {
    let ipv4 = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = ipv4.local_addr().unwrap().port();
    let cluster = playground!()
        .listen(format!("udp:[::]:{port}?name=datagrams"))
        .start();
    ask(
        &client(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))),
        "six",
    );
    cluster.stop();

    let dual = playground!()
        .listen("udp:[::]:0?name=datagrams&v6only=false")
        .start();
    let port = address(&dual, 0).port();
    ask(&client(SocketAddr::from(([127, 0, 0, 1], port))), "four");
    ask(
        &client(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))),
        "six",
    );
    dual.stop();
}

#[test]
fn it_may_come_from_a_service_manager() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let cluster = playground!()
        .inherit(&socket)
        .through(["env", "LISTEN_FDNAMES=datagrams"])
        .listen("systemd:datagrams")
        .start();
    drop(socket);
    assert_eq!(addresses(&cluster), [format!("udp:{address}")]);
    ask(&client(address), "hello");
    cluster.stop();
    UdpSocket::bind(address).unwrap();
}
