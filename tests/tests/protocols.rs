//! What is spoken over a connection works the same with and without TLS, and ends the same way.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::time::Duration;

use hatchery_tests::http::{Connection, Stream};
use hatchery_tests::tls::{Authority, secure};
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, http2, playground};
use rustix::process::Signal;

/// How long a drain and its lame duck may take.
type Times = (&'static str, &'static str);

const PATIENT: Times = ("20s", "200ms");
const SHORT: Times = ("1s", "200ms");

/// A cluster that listens without TLS and with it.
struct Both {
    cluster: Cluster,
    authority: Authority,
}

fn both((drain_timeout, lame_duck): Times) -> Both {
    let plan = playground!()
        .workers(1)
        .flag("--drain-timeout", drain_timeout)
        .flag("--lame-duck", lame_duck)
        // A client that says nothing is accepted all the same.
        .listen("127.0.0.1:0?defer=false");
    let (plan, authority) = secure(plan);
    let cluster = plan.start();
    Both { cluster, authority }
}

/// What a test does with a connection of either kind.
trait Talk {
    fn with(&self, connection: Connection<impl Stream>, cluster: &Cluster);
}

/// Runs a test over TCP and over TLS, each with a cluster of its own that the test may stop.
fn over_both(times: Times, talk: &impl Talk) {
    let Both { cluster, .. } = both(times);
    talk.with(cluster.connect(), &cluster);
    drop(cluster);
    let Both { cluster, authority } = both(times);
    let address = cluster.status()["listeners"][1]["address"].clone();
    let address = address.as_str().unwrap().parse().unwrap();
    talk.with(authority.client().connect(address).unwrap(), &cluster);
}

fn expect_stopped(cluster: &Cluster, most: Duration) {
    let ended = cluster.expect_exit();
    ended.expect_code(0).expect_stop_within(most);
}

#[test]
fn keep_alive_uploads_and_the_last_answer() {
    struct Test;
    impl Talk for Test {
        fn with(&self, mut connection: Connection<impl Stream>, cluster: &Cluster) {
            assert_eq!(connection.get("/").unwrap().text(), "Hello World");
            let large = vec![7; 1 << 20];
            let echo = connection.post("/echo", &large).unwrap();
            assert!(echo.body == large, "{} bytes", echo.body.len());
            cluster.signal(Signal::TERM);
            let last = until(PATIENCE, || {
                connection.get("/").unwrap().closes().then_some(())
            });
            assert!(last.is_some());
            // Over TLS this is an end with a goodbye.
            assert!(connection.drain().is_empty());
            expect_stopped(cluster, Duration::ZERO);
        }
    }
    // Time enough to ask once more.
    over_both(("20s", "8s"), &Test);
}

#[test]
fn idle_and_silent_connections_do_not_hold_up_a_stop() {
    struct Test;
    impl Talk for Test {
        fn with(&self, mut connection: Connection<impl Stream>, cluster: &Cluster) {
            cluster.signal(Signal::TERM);
            assert!(connection.drain().is_empty());
            expect_stopped(cluster, Duration::from_millis(200));
        }
    }
    over_both(PATIENT, &Test);
}

#[test]
fn http2_without_being_asked_for() {
    struct Test;
    impl Talk for Test {
        fn with(&self, connection: Connection<impl Stream>, cluster: &Cluster) {
            let mut http2 = http2::begin(connection);
            for _ in 0..3 {
                assert_eq!(http2.get_root().unwrap(), "Hello World");
            }
            cluster.signal(Signal::TERM);
            assert!(http2.leave_when_asked(), "no GOAWAY");
            expect_stopped(cluster, Duration::from_millis(200));
        }
    }
    over_both(PATIENT, &Test);
}

#[test]
fn a_stream_of_events_comes_as_it_is_made_and_is_cut_at_the_deadline() {
    struct Test;
    impl Talk for Test {
        fn with(&self, mut connection: Connection<impl Stream>, cluster: &Cluster) {
            connection.ask("/stream/3").unwrap();
            connection.receive_head().unwrap();
            let mut events = Vec::new();
            while let Some(chunk) = connection.receive_chunk().unwrap() {
                events.push(String::from_utf8(chunk).unwrap());
            }
            assert_eq!(events, ["data: 0\n\n", "data: 1\n\n", "data: 2\n\n"]);
            connection.ask("/stream/1000000").unwrap();
            connection.receive_head().unwrap();
            connection.receive_chunk().unwrap();
            cluster.signal(Signal::TERM);
            let end = until(PATIENCE, || connection.receive_chunk().err());
            assert!(end.is_some(), "it went on");
            expect_stopped(cluster, Duration::from_secs(1));
        }
    }
    over_both(SHORT, &Test);
}

#[test]
fn a_websocket_echoes_and_is_told_when_the_worker_leaves() {
    struct Test;
    impl Talk for Test {
        fn with(&self, mut connection: Connection<impl Stream>, cluster: &Cluster) {
            let request = "GET /ws HTTP/1.1\r\nHost: playground\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            connection.send(request.as_bytes()).unwrap();
            assert_eq!(connection.receive_head().unwrap().status, 101);
            // A text of two letters, masked with zeros; it comes back unmasked.
            connection
                .send(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'])
                .unwrap();
            assert_eq!(connection.receive_exact(4).unwrap(), [0x81, 2, b'h', b'i']);
            cluster.signal(Signal::TERM);
            let close = connection.receive_exact(4).unwrap();
            assert_eq!(close[0], 0x88, "a close frame");
            assert_eq!(u16::from_be_bytes([close[2], close[3]]), 1001);
            connection.receive_exact(usize::from(close[1]) - 2).unwrap();
            connection.send(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]).unwrap();
            connection.drain();
            expect_stopped(cluster, Duration::from_secs(1));
        }
    }
    over_both(PATIENT, &Test);
}

#[test]
fn a_half_sent_header_is_cut_at_the_deadline() {
    struct Test;
    impl Talk for Test {
        fn with(&self, mut connection: Connection<impl Stream>, cluster: &Cluster) {
            connection.send(b"GET / HTTP/1.1\r\nHost: pl").unwrap();
            cluster.signal(Signal::TERM);
            connection.drain();
            expect_stopped(cluster, Duration::from_secs(1));
        }
    }
    over_both(SHORT, &Test);
}

#[test]
fn a_half_done_handshake_is_cut_at_the_deadline() {
    let Both { cluster, .. } = both(SHORT);
    let address = cluster.status()["listeners"][1]["address"].clone();
    let address = address.as_str().unwrap().parse().unwrap();
    let mut half = hatchery_tests::http::connect(address).unwrap();
    // The beginning of a ClientHello.
    half.send(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    let mut silent = hatchery_tests::http::connect(address).unwrap();
    cluster.expect_status("both count", |status| {
        status["workers"][0]["connections"] == 2
    });
    cluster.signal(Signal::TERM);
    assert!(half.drain().is_empty() && silent.drain().is_empty());
    expect_stopped(&cluster, Duration::from_secs(1));
}
