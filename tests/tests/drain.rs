//! Stopping, as clients see it: who is answered, who is told to go, and who is cut off when.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hatchery_tests::http::Connection;
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, Ended, each_strategy, http, http2, playground};
use rustix::process::Signal;

#[test]
fn a_request_in_flight_is_answered() {
    let cluster = playground!().workers(1).start();
    let mut slow = cluster.connect();
    slow.ask("/sleep/1000").unwrap();
    let mut idle = cluster.connect();
    idle.whoami().unwrap();
    cluster.signal(Signal::TERM);
    let response = slow.receive().unwrap();
    assert_eq!(response.status, 200);
    assert!(
        response.closes(),
        "and told that it was the last: {response:?}"
    );
    expect_orderly(&cluster);
}

#[test]
fn a_client_that_asks_once_more_is_answered_and_told_to_go() {
    let cluster = playground!().workers(1).flag("--lame-duck", "4s").start();
    let mut connection = cluster.connect();
    connection.whoami().unwrap();
    cluster.signal(Signal::TERM);
    // The worker hears of it a moment later. Until then and once after it, it answers.
    let last = until(PATIENCE, || {
        let response = connection.get("/").unwrap();
        assert_eq!(response.text(), "Hello World");
        response.closes().then_some(response)
    });
    assert!(last.is_some());
    assert!(connection.drain().is_empty());
    // Now that nobody is connected there is nobody to wait for.
    expect_orderly(&cluster).expect_stop_within(Duration::ZERO);
}

#[test]
fn a_stop_without_any_time_is_a_stop_all_the_same() {
    let cluster = playground!()
        .flag("--drain-timeout", "0s")
        .flag("--lame-duck", "0s")
        .start();
    let mut connection = cluster.connect();
    connection.ask("/sleep/600000").unwrap();
    let ended = cluster.expect_orderly_end();
    assert_eq!(ended.hooks("before_close").len(), 3);
    ended.expect_stop_within(Duration::ZERO);
    connection.drain();
}

#[test]
fn a_long_answer_in_flight_comes_whole() {
    let cluster = playground!().workers(1).start();
    let mut stream = cluster.connect();
    // Ten events, 100 ms apart: longer than the lame duck, shorter than the drain.
    stream.ask("/stream/10").unwrap();
    stream.receive_head().unwrap();
    assert!(stream.receive_chunk().unwrap().is_some());
    cluster.signal(Signal::TERM);
    let mut rest = Vec::new();
    while let Some(chunk) = stream.receive_chunk().unwrap() {
        rest.extend(chunk);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("data: 9"), "to its last event: {rest}");
    expect_orderly(&cluster);
}

#[test]
fn clients_see_success_and_then_refusal_and_nothing_in_between() {
    let cluster = playground!().start();
    let address = cluster.address();
    let (tell, served) = mpsc::channel();
    let client = thread::spawn(move || {
        let mut outcomes = Vec::new();
        let refused = until(PATIENCE, || {
            let outcome = match http::get(address, "/") {
                Ok(response) => format!("{}", response.status),
                Err(error) => format!("{:?}", error.kind()),
            };
            if outcomes.last() != Some(&outcome) {
                outcomes.push(outcome);
            }
            // Nobody listens after the first time.
            let _ = tell.send(());
            (outcomes.last()? == "ConnectionRefused").then_some(())
        });
        assert!(refused.is_some(), "never refused: {outcomes:?}");
        outcomes
    });
    served.recv().unwrap();
    cluster.signal(Signal::TERM);
    let outcomes = client.join().unwrap();
    // A connection that nobody has accepted when the listener is closed is reset by the kernel.
    let allowed: [&[&str]; 2] = [
        &["200", "ConnectionRefused"],
        &["200", "ConnectionReset", "ConnectionRefused"],
    ];
    assert!(
        allowed.iter().any(|order| outcomes == *order),
        "{outcomes:?}"
    );
    expect_orderly(&cluster);
}

fn expect_orderly(cluster: &Cluster) -> Ended {
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    for event in &ended.events {
        if event.event.ends_with("-exited") {
            assert_eq!(event.why(), "exited with code 0", "{event:?}");
        }
    }
    ended
}

/// For those who have nothing under way: they are asked to leave, and nobody waits for the deadline.
const EARLY: (&str, Duration) = ("20s", Duration::from_millis(200));
/// For those who have something under way that never ends.
const AT_THE_DEADLINE: (&str, Duration) = ("1500ms", Duration::from_millis(1500));

/// A client that would keep its worker for ever does not keep the stop longer than it may take.
fn stop_ends_with(
    client: impl FnOnce(&Cluster) -> Connection,
    (drain_timeout, most): (&str, Duration),
) {
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", drain_timeout)
        .start();
    let mut connection = client(&cluster);
    cluster.signal(Signal::TERM);
    connection.drain();
    expect_orderly(&cluster).expect_stop_within(most);
}

#[test]
fn an_idle_connection_does_not_hold_up_a_stop() {
    let idle = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        connection.whoami().unwrap();
        connection
    };
    stop_ends_with(idle, EARLY);
}

#[test]
fn a_connection_that_never_said_anything_does_not_hold_up_a_stop() {
    let accepted = |cluster: &Cluster| {
        let connection = cluster.connect();
        // A silent client is accepted after a while only.
        cluster.expect_status("it is accepted", |status| {
            let workers = status["workers"].as_array().unwrap();
            workers.iter().any(|worker| worker["connections"] == 1)
        });
        connection
    };
    stop_ends_with(accepted, EARLY);
}

#[test]
fn an_idle_http2_connection_is_asked_to_leave_and_does_not_hold_up_a_stop() {
    let (drain_timeout, most) = EARLY;
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", drain_timeout)
        .start();
    let mut connection = http2::begin(cluster.connect());
    cluster.signal(Signal::TERM);
    assert!(connection.leave_when_asked());
    expect_orderly(&cluster).expect_stop_within(most);
}

fn deaf(cluster: &Cluster) -> Connection {
    http2::begin(cluster.connect()).into_inner()
}

#[test]
fn an_http2_client_that_does_not_listen_ends_by_the_deadline() {
    stop_ends_with(deaf, AT_THE_DEADLINE);
}

fn half_a_header(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: pl").unwrap();
    connection
}

#[test]
fn a_half_sent_header_ends_by_the_deadline() {
    stop_ends_with(half_a_header, AT_THE_DEADLINE);
}

fn half_a_body(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connect();
    let head = b"POST /echo HTTP/1.1\r\nHost: playground\r\nContent-Length: 100\r\n\r\nhalf";
    connection.send(head).unwrap();
    connection
}

#[test]
fn a_half_sent_body_ends_by_the_deadline() {
    stop_ends_with(half_a_body, AT_THE_DEADLINE);
}

fn endless_stream(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connect();
    connection.ask("/stream/1000000").unwrap();
    connection.receive_head().unwrap();
    connection
}

#[test]
fn an_endless_stream_ends_by_the_deadline() {
    stop_ends_with(endless_stream, AT_THE_DEADLINE);
}

fn websocket_at(cluster: &Cluster, path: &str) -> Connection {
    let mut connection = cluster.connect();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: playground\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.receive_head().unwrap().status, 101);
    connection
}

fn websocket(cluster: &Cluster) -> Connection {
    websocket_at(cluster, "/ws")
}

fn deaf_websocket(cluster: &Cluster) -> Connection {
    websocket_at(cluster, "/ws/deaf")
}

#[test]
fn an_open_websocket_ends_by_the_deadline() {
    stop_ends_with(websocket, AT_THE_DEADLINE);
}

fn endless_request(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connect();
    connection.ask("/sleep/600000").unwrap();
    connection
}

#[test]
fn an_endless_request_ends_by_the_deadline() {
    stop_ends_with(endless_request, AT_THE_DEADLINE);
}

/// All of them at once, and each is told as far as its protocol has a way.
fn clients_of_every_kind(strategy: &str) {
    let (drain_timeout, most) = AT_THE_DEADLINE;
    let cluster = playground!()
        .strategy(strategy)
        .flag("--drain-timeout", drain_timeout)
        .start();
    let mut idle = cluster.connect();
    idle.whoami().unwrap();
    let mut silent = cluster.connect();
    let mut mute: Vec<_> = [half_a_header, half_a_body, endless_stream, endless_request]
        .into_iter()
        .flat_map(|open| [open(&cluster), open(&cluster)])
        .collect();
    let mut http2 = http2::begin(cluster.connect());
    let mut websocket = websocket(&cluster);
    cluster.signal(Signal::TERM);
    let frames = websocket.drain();
    let going_away = 1001u16.to_be_bytes();
    assert!(
        frames.windows(2).any(|bytes| bytes == going_away),
        "closed with 1001: {frames:?}"
    );
    assert!(http2.leave_when_asked(), "it was told");
    assert!(idle.drain().is_empty(), "an idle one is closed");
    for connection in &mut mute {
        connection.drain();
    }
    expect_orderly(&cluster).expect_stop_within(most);
    // Perhaps nobody had accepted it, and nobody could tell it.
    let _ = silent.ask("/");
    assert!(silent.receive().is_err());
}

each_strategy!(clients_of_every_kind_end_by_the_deadline => clients_of_every_kind);

/// The worker cuts them off itself: it does not leave that to its own end, which a hook may put off.
#[test]
fn whoever_is_there_at_the_deadline_is_cut_off_before_the_last_hook() {
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", "300ms")
        .before_close("slow:1500")
        .start();
    let mut clients = [
        half_a_header,
        half_a_body,
        endless_request,
        deaf,
        deaf_websocket,
    ]
    .map(|open| open(&cluster));
    cluster.signal(Signal::TERM);
    // The worker's: the agent's turn comes when no worker is left.
    cluster.wait_hooks("before_close", 1);
    for client in &mut clients {
        // Less than the hook may take.
        let most = Some(Duration::from_millis(500));
        client.get_ref().set_read_timeout(most).unwrap();
        client.drain();
    }
    cluster.expect_exit().expect_code(0);
}

#[test]
fn a_worker_that_spins_is_killed_after_the_deadline() {
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", "500ms")
        .start();
    let _spinning = cluster.spin(0);
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    ended.expect_stop_within(Duration::from_millis(500 + 2000 + 2000));
}
