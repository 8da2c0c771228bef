//! A proxy says for whom it speaks, before anything else.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use hatchery_tests::http::{Connection, Stream};
use hatchery_tests::process::descriptors;
use hatchery_tests::tls::{Authority, Files};
use hatchery_tests::{Plan, each_strategy, http, playground};
use serde_json::Value;

const V1: &str = "PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n";

/// The same in the second version.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x21, 0x11, 0, 12]);
    header.extend([198, 51, 100, 7, 203, 0, 113, 9]);
    header.extend(5000_u16.to_be_bytes());
    header.extend(443_u16.to_be_bytes());
    header
}

fn behind_a_proxy() -> Plan {
    playground!()
        .workers(1)
        .listen("127.0.0.1:0?name=edge&proxy-protocol")
}

fn client_info<S: Stream>(connection: &mut Connection<S>) -> Value {
    let response = connection.get("/client").unwrap();
    serde_json::from_slice(&response.body).unwrap()
}

fn the_proxys_client_is_seen(strategy: &str) {
    let cluster = behind_a_proxy().strategy(strategy).start();
    for header in [V1.as_bytes().to_vec(), v2()] {
        let mut connection = cluster.connect();
        let proxy = connection.get_ref().local_addr().unwrap();
        connection.send(&header).unwrap();
        for _ in 0..2 {
            let info = client_info(&mut connection);
            assert_eq!(info["address"], "198.51.100.7:5000");
            assert_eq!(info["local_address"], "203.0.113.9:443");
            assert_eq!(info["proxy"], proxy.to_string());
            assert_eq!(info["listener"], "edge");
        }
    }
}

each_strategy!(handlers_see_the_proxys_client => the_proxys_client_is_seen);

/// The master waits for a header only so long; then any worker gets the connection, and judges it.
#[test]
fn ip_hash_does_not_wait_for_a_proxy_that_takes_its_time() {
    let cluster = playground!()
        .listen("127.0.0.1:0?proxy-protocol&strategy=ip-hash")
        .start();
    let master = cluster.master();
    let before = descriptors(master);
    let (begin, rest) = V1.split_at(12);
    // What comes at first, what makes it a header, and what makes it none.
    let rows = [
        ("", V1, "GET / HTTP/1.1\r\n\r\n"),
        (begin, rest, "a.b.c.d\r\n"),
    ];
    for (first, header, nonsense) in rows {
        let [mut late, mut never] = [cluster.connect(), cluster.connect()];
        for connection in [&mut late, &mut never] {
            connection.send(first.as_bytes()).unwrap();
        }
        cluster.expect_status("workers have both", |status| {
            let workers = status["workers"].as_array().unwrap().iter();
            let connections = workers.map(|worker| worker["connections"].as_u64().unwrap());
            connections.sum::<u64>() == 2
        });
        cluster.expect("the master keeps neither", || descriptors(master) <= before);
        late.send(header.as_bytes()).unwrap();
        assert_eq!(client_info(&mut late)["address"], "198.51.100.7:5000");
        never.send(nonsense.as_bytes()).unwrap();
        let error = never.receive_exact(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{nonsense:?}");
        drop((late, never));
        cluster.expect_status("both are gone", |status| {
            let mut workers = status["workers"].as_array().unwrap().iter();
            workers.all(|worker| worker["connections"] == 0)
        });
    }
    cluster.expect("the master has no more than before", || {
        descriptors(master) <= before
    });
    cluster.stop();
}

#[test]
fn ip_hash_goes_by_the_proxys_client() {
    let cluster = playground!()
        .workers(4)
        .listen("127.0.0.1:0?proxy-protocol&strategy=ip-hash")
        .start();
    let slot_of = |client: u8| {
        let mut connection = cluster.connect();
        let header = format!("PROXY TCP4 198.51.100.{client} 203.0.113.9 5000 443\r\n");
        // In two pieces: the master has to wait for the second.
        let (first, second) = header.split_at(usize::from(client));
        connection.send(first.as_bytes()).unwrap();
        connection.send(second.as_bytes()).unwrap();
        connection.whoami().unwrap().slot
    };
    let slots: Vec<_> = (1..20).map(slot_of).collect();
    let again: Vec<_> = (1..20).map(slot_of).collect();
    assert_eq!(slots, again);
    let others = slots.iter().filter(|slot| **slot != slots[0]).count();
    assert!(others > 0, "all by the proxy's address: {slots:?}");
}

#[test]
fn a_proxy_may_speak_for_itself() {
    let cluster = behind_a_proxy().start();
    let mut local = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    local.extend([0x20, 0, 0, 0]);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local] {
        let mut connection = cluster.connect();
        connection.send(&header).unwrap();
        let proxy = connection.get_ref().local_addr().unwrap();
        let info = client_info(&mut connection);
        assert_eq!(info["address"], proxy.to_string());
        assert_eq!(info["proxy"], Value::Null);
    }
}

#[test]
fn a_header_may_be_cut_anywhere_or_come_with_the_request() {
    let cluster = behind_a_proxy().start();
    for header in [V1.as_bytes().to_vec(), v2()] {
        let request = b"GET /client HTTP/1.1\r\nHost: playground\r\n\r\n";
        let whole = [header.as_slice(), request].concat();
        for cut in [0, 1, 5, 12, 16, 20, header.len() - 1, header.len()] {
            let mut connection = cluster.connect();
            connection.get_ref().set_nodelay(true).unwrap();
            let (first, second) = whole.split_at(cut);
            connection.send(first).unwrap();
            connection.send(second).unwrap();
            let response = connection.receive().unwrap();
            assert!(response.text().contains("198.51.100.7"), "{response:?}");
        }
    }
}

#[test]
fn whoever_brings_no_header_is_reset() {
    let cluster = behind_a_proxy().flag("--log-level", "debug").start();
    let long = format!("PROXY TCP4 {}", "1".repeat(200));
    let rows = [
        "GET / HTTP/1.1\r\nHost: playground\r\n\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\nGET / HTTP/1.1\r\nHost: playground\r\n\r\n",
        "\r\n\r\n\0\r\nQUIT\n\u{31}\u{11}\0\0",
        long.as_str(),
    ];
    for bytes in rows {
        let mut connection = cluster.connect();
        connection.send(bytes.as_bytes()).unwrap();
        let error = connection.receive_exact(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {bytes:?}");
    }
    cluster.expect("each is in the log", || {
        cluster.stderr().matches("a connection was refused").count() == rows.len()
    });
    let mut connection = cluster.connect();
    connection.send(V1.as_bytes()).unwrap();
    client_info(&mut connection);
    cluster.expect_status("only the one was a request", |status| {
        assert!(status["workers"][0]["requests"].as_u64().unwrap() <= 1);
        status["workers"][0]["requests"] == 1
    });
}

#[test]
fn half_a_header_has_the_time_of_the_first_header() {
    let cluster = behind_a_proxy().flag("--header-timeout", "300ms").start();
    for bytes in ["", "PROXY TCP4 198."] {
        let mut connection = cluster.connect();
        connection.send(bytes.as_bytes()).unwrap();
        assert!(connection.drain().is_empty());
    }
}

#[test]
fn half_a_header_does_not_hold_up_a_stop_beyond_its_deadline() {
    let cluster = behind_a_proxy().flag("--drain-timeout", "1s").start();
    let mut half = cluster.connect();
    half.send(b"PROXY TCP4 198.").unwrap();
    let mut silent = cluster.connect();
    cluster.expect_status("both count", |status| {
        status["workers"][0]["connections"] == 2
    });
    let ended = cluster.stop();
    assert!(half.drain().is_empty() && silent.drain().is_empty());
    ended.expect_stop_within(Duration::from_secs(1));
}

#[test]
fn a_unix_socket_may_have_a_proxy_in_front() {
    let plan = playground!().workers(1);
    let path = plan.path("app.sock");
    let direct = plan.path("plain.sock");
    let cluster = plan
        .listen(format!("unix:{}?proxy-protocol", path.display()))
        .listen(format!("unix:{}", direct.display()))
        .start();
    let mut connection = http::connect_unix(&path).unwrap();
    connection.send(V1.as_bytes()).unwrap();
    let info = client_info(&mut connection);
    assert_eq!(info["address"], "198.51.100.7:5000");
    assert_eq!(info["proxy"], Value::Null, "it has no address");
    let mut connection = http::connect_unix(&direct).unwrap();
    assert_eq!(client_info(&mut connection)["address"], Value::Null);
    drop(connection);
    cluster.stop();
}

#[test]
fn tls_comes_after_the_header() {
    let plan = playground!();
    let (authority, folder) = (Authority::new(), plan.path("tls"));
    fs::create_dir(&folder).unwrap();
    authority.issue(&folder);
    let address = Files::of(&folder).at("127.0.0.1:0?proxy-protocol");
    let cluster = plan.listen(address).start();
    let client = authority.client();
    let mut connection = client
        .connect_after(cluster.address(), V1.as_bytes())
        .unwrap();
    let info = client_info(&mut connection);
    assert_eq!(info["address"], "198.51.100.7:5000");
    assert_eq!(info["tls"]["version"], "TLSv1_3");
    client.connect(cluster.address()).unwrap_err();
}

#[test]
fn a_value_other_than_true_is_refused() {
    let ran = playground!().run_verb(&["check", "--listen", "127.0.0.1:0?proxy-protocol=v2"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("proxy-protocol"), "{ran:?}");
}
