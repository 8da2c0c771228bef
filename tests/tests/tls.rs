//! TLS: what is agreed upon, and who resumes a session.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;

use std::collections::BTreeSet;

use hatchery_tests::http::Connection;
use hatchery_tests::loopback::unique_address;
use hatchery_tests::process::kill;
use hatchery_tests::tls::{Authority, Client, Files, HOST, TlsStream, is_resumed, secure};
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, each_strategy, http, http2, playground, step};
use rustix::process::Signal;
use serde_json::Value;

fn client_info(connection: &mut Connection<TlsStream>) -> Value {
    let response = connection.get("/client").unwrap();
    serde_json::from_slice(&response.body).unwrap()
}

// Serving.

#[test]
fn handlers_are_told_what_was_agreed_upon() {
    let (plan, authority) = secure(playground!().workers(1));
    let cluster = plan.start();
    let mut connection = authority
        .client()
        .speaking(&["http/1.1"])
        .connect(cluster.address())
        .unwrap();
    let socket = connection.get_ref().sock.local_addr().unwrap();
    let info = client_info(&mut connection);
    assert_eq!(info["address"], socket.to_string());
    assert_eq!(info["local_address"], cluster.address().to_string());
    assert_eq!(info["tls"]["server_name"], HOST);
    assert_eq!(info["tls"]["alpn"], "http/1.1");
    assert_eq!(info["tls"]["version"], "TLSv1_3");
    let mut older = authority
        .client_of_tls12()
        .connect(cluster.address())
        .unwrap();
    assert_eq!(client_info(&mut older)["tls"]["version"], "TLSv1_2");
}

#[test]
fn http2_is_chosen_by_those_who_speak_it() {
    let (plan, authority) = secure(playground!());
    let cluster = plan.start();
    let client = authority.client().speaking(&["h2", "http/1.1"]);
    let connection = client.connect(cluster.address()).unwrap();
    let chosen = connection.get_ref().conn.alpn_protocol();
    assert_eq!(chosen, Some(b"h2".as_slice()));
    let mut http2 = http2::begin(connection);
    for _ in 0..3 {
        assert_eq!(http2.get_root().unwrap(), "Hello World");
    }
    // A client that speaks neither is refused in the handshake.
    let other = authority.client().speaking(&["spdy/3"]);
    other.connect(cluster.address()).unwrap_err();
}

#[test]
fn whoever_speaks_no_tls_is_cut_off() {
    let (plan, authority) = secure(playground!().workers(1).flag("--log-level", "debug"));
    let cluster = plan.start();
    let mut stranger = cluster.connect();
    stranger.ask("/").unwrap();
    let answer = stranger.drain();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    cluster.expect("it is in the log", || {
        cluster.stderr().contains("a TLS handshake failed")
    });
    let mut connection = authority.client().connect(cluster.address()).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    assert_eq!(
        requests(&cluster),
        1,
        "a handshake that fails is no request"
    );
}

/// How many requests were begun. Workers tell it with their beats.
fn requests(cluster: &Cluster) -> u64 {
    let mut seen = 0;
    cluster.expect_status("requests are counted", |status| {
        seen = status["workers"][0]["requests"].as_u64().unwrap();
        seen > 0
    });
    seen
}

#[test]
fn one_cluster_serves_with_and_without() {
    let plan = playground!().listen("127.0.0.1:0?name=plain");
    let (plan, authority) = secure(plan);
    let cluster = plan.start();
    let status = cluster.status();
    let address = |index: usize| -> std::net::SocketAddr {
        let text = status["listeners"][index]["address"].as_str().unwrap();
        text.parse().unwrap()
    };
    assert_eq!(http::get(address(0), "/").unwrap().text(), "Hello World");
    let mut connection = authority.client().connect(address(1)).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
}

fn serves_tls(strategy: &str) {
    let (plan, authority) = secure(playground!().strategy(strategy));
    let cluster = plan.start();
    let client = authority.client();
    for _ in 0..8 {
        let mut connection = client.connect(cluster.address()).unwrap();
        assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    }
}

each_strategy!(every_strategy_serves_tls => serves_tls);

// Sessions.

/// A session that began on one worker goes on on another.
fn is_resumed_elsewhere(cluster: &Cluster, client: impl Fn() -> Client) {
    let elsewhere = until(PATIENCE, || {
        // One that remembers nothing.
        let client = client();
        let mut first = client.connect(cluster.address()).unwrap();
        assert!(!is_resumed(&first));
        let here = first.whoami().unwrap();
        let mut second = client.connect(cluster.address()).unwrap();
        let there = second.whoami().unwrap();
        assert!(is_resumed(&second), "from {here:?} to {there:?}");
        assert_eq!(client_info(&mut second)["tls"]["resumed"], true);
        (here.pid != there.pid).then_some(())
    });
    assert!(elsewhere.is_some(), "every connection went to one worker");
}

#[test]
fn a_session_goes_on_on_another_worker() {
    let (plan, authority) = secure(playground!().workers(3));
    let cluster = plan.start();
    is_resumed_elsewhere(&cluster, || authority.client());
    is_resumed_elsewhere(&cluster, || authority.client_of_tls12());
}

#[test]
fn of_sixteen_connections_to_four_workers_one_is_new() {
    let (plan, authority) = secure(playground!().workers(4));
    let cluster = plan.start();
    let client = authority.client();
    let mut slots = BTreeSet::new();
    let mut resumed = 0;
    for _ in 0..16 {
        let mut connection = client.connect(cluster.address()).unwrap();
        slots.insert(connection.whoami().unwrap().slot);
        resumed += u32::from(is_resumed(&connection));
    }
    assert_eq!((resumed, slots.len()), (15, 4));
}

#[test]
fn a_session_goes_on_on_a_worker_that_replaces_its_own() {
    let (plan, authority) = secure(playground!().workers(1));
    let cluster = plan.start();
    let client = authority.client();
    let mut first = client.connect(cluster.address()).unwrap();
    let old = first.whoami().unwrap();
    kill(old.pid, Signal::KILL);
    cluster.wait_nth(step("worker-ready"), 2);
    let mut second = client.connect(cluster.address()).unwrap();
    assert!(is_resumed(&second));
    assert_ne!(second.whoami().unwrap().pid, old.pid);
}

#[test]
fn a_session_does_not_go_on_on_another_listener() {
    let (plan, authority) = secure(playground!().workers(1));
    let files = Files::of(&plan.path("tls"));
    let cluster = plan.listen(files.at("127.0.0.2:0")).start();
    let client = authority.client();
    let mut first = client.connect(cluster.address()).unwrap();
    first.whoami().unwrap();
    let other = cluster.status()["listeners"][1]["address"].clone();
    let other = other.as_str().unwrap().parse().unwrap();
    assert!(!is_resumed(&client.connect(other).unwrap()));
}

#[test]
fn a_session_does_not_outlive_its_master() {
    let plan = playground!();
    let (authority, folder) = (Authority::new(), plan.path("tls"));
    fs::create_dir(&folder).unwrap();
    authority.issue(&folder);
    let address = Files::of(&folder).at(&unique_address().to_string());
    let cluster = plan.listen(&address).start();
    let client = authority.client();
    let mut first = client.connect(cluster.address()).unwrap();
    first.whoami().unwrap();
    drop(first);
    // Keeps the files.
    let _ended = cluster.stop();
    let again = playground!().listen(&address).start();
    // The same client, the same name, the same address; only the secret is another.
    let mut second = client.connect(again.address()).unwrap();
    assert!(!is_resumed(&second));
    second.whoami().unwrap();
}
