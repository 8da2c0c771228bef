//! What one connection may do, and for how long.

use axum::body::Body;
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use http::Request;
use tokio::time::sleep;

use super::*;
use crate::fixture::{Fixture, HEADER_TIMEOUT, IDLE_TIMEOUT, LIMITS, settle};

fn hello() -> Fixture {
    hello_with(LIMITS)
}

fn hello_with(limits: HttpLimits) -> Fixture {
    let router = Router::new().route("/", get(|| async { "hello" }));
    Fixture::with_limits(router, &limits)
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_long_for_its_header() {
    for sent in ["", "GET / HTTP/1.1\r\nHo", "P", "PRI * HTTP/2.0\r\n"] {
        let mut client = hello().connect();
        client.send(sent).await;
        assert_eq!(client.closed().await, HEADER_TIMEOUT, "after {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn drops_of_a_header_buy_no_time() {
    let fixture = hello();
    let mut client = fixture.connect();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\n").await;
    while fixture.gauges.connections() > 0 || begun.elapsed() < Duration::from_secs(1) {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"X: y\r\n").await;
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() <= HEADER_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn every_answer_begins_the_time_anew() {
    let fixture = hello();
    let mut client = fixture.connect();
    for _ in 0..5 {
        sleep(HEADER_TIMEOUT * 9 / 10).await;
        client.get("/").await;
        client.read_until("hello").await;
    }
    assert_eq!(client.closed().await, IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_later_header_begins_with_its_first_byte() {
    let fixture = hello();
    for waited in [1, 29, 31, 59, 61, 89] {
        let mut client = fixture.connect();
        client.get("/").await;
        client.read_until("hello").await;
        sleep(Duration::from_secs(waited)).await;
        client.send("GET / HT").await;
        assert_eq!(client.closed().await, HEADER_TIMEOUT, "after {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_limit_may_be_the_shorter_one() {
    let fixture = hello_with(HttpLimits {
        idle_timeout: Duration::from_secs(5),
        ..LIMITS
    });
    let mut client = fixture.connect();
    sleep(Duration::from_secs(50)).await;
    client.get("/").await;
    client.read_until("hello").await;
    assert_eq!(client.closed().await, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_last_request_of_a_connection_is_announced() {
    let fixture = hello_with(HttpLimits {
        max_requests_per_connection: 3,
        ..LIMITS
    });
    let mut client = fixture.connect();
    for request in 1..=3 {
        client.get("/").await;
        let answer = client.read_until("hello").await;
        assert_eq!(
            answer.contains("connection: close"),
            request == 3,
            "{answer}"
        );
    }
    assert_eq!(client.closed().await, Duration::ZERO);

    let (mut client, closed) = fixture.connect_h2().await;
    for _ in 0..3 {
        let request = Request::new(Body::empty());
        let answer = client.send_request(request).await.unwrap();
        drop(answer);
    }
    let refused = client.send_request(Request::new(Body::empty())).await;
    assert!(refused.is_err(), "{refused:?}");
    closed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_header_has_a_size() {
    let long = "x".repeat(LIMITS.max_header_size as usize);
    let mut client = hello().connect();
    client
        .send(&format!(
            "GET / HTTP/1.1\r\nHost: test\r\nX: {long}\r\n\r\n"
        ))
        .await;
    let answer = client.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let (mut client, _closed) = hello().connect_h2().await;
    let request = Request::builder().header("x", long).body(Body::empty());
    let answer = client.send_request(request.unwrap()).await;
    assert_eq!(answer.unwrap().status(), 431);
}

#[tokio::test(start_paused = true)]
async fn a_full_worker_lets_others_wait() {
    let fixture = hello_with(HttpLimits {
        max_connections: 2,
        ..LIMITS
    });
    let mut clients = [fixture.connect(), fixture.connect(), fixture.connect()];
    for client in &mut clients {
        client.get("/").await;
    }
    settle().await;
    assert_eq!(fixture.gauges.connections(), 2);
    let [first, _second, third] = clients;
    drop(first);
    settle().await;
    assert_eq!(fixture.gauges.connections(), 2);
    let mut third = third;
    assert!(third.read_until("hello").await.ends_with("hello"));
}

#[tokio::test(start_paused = true)]
async fn neither_a_slow_handler_nor_a_slow_upload_is_a_slow_header() {
    let slow = |body: Body| async move {
        let chunks = body.into_data_stream().count().await;
        sleep(HEADER_TIMEOUT * 3).await;
        format!("{chunks} chunks")
    };
    let fixture = Fixture::new(Router::new().route("/", post(slow)));
    let mut client = fixture.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n")
        .await;
    for byte in ["a", "b"] {
        sleep(HEADER_TIMEOUT * 2).await;
        client.send(byte).await;
    }
    let answer = client.read_until("chunks").await;
    assert!(answer.ends_with("2 chunks"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_h2_client_is_told_to_go() {
    let fixture = hello();
    let (mut client, closed) = fixture.connect_h2().await;
    let answer = client.send_request(Request::new(Body::empty())).await;
    drop(answer.unwrap());
    let begun = Instant::now();
    closed.await.unwrap();
    assert_eq!(begun.elapsed(), IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_h2_client_has_it_for_its_first_request_only() {
    let fixture = hello();
    let begun = Instant::now();
    let (_silent, closed) = fixture.connect_h2().await;
    let (mut greeted, still_open) = fixture.connect_h2().await;
    let answer = greeted.send_request(Request::new(Body::empty())).await;
    drop(answer.unwrap());
    closed.await.unwrap();
    assert_eq!(begun.elapsed(), HEADER_TIMEOUT);
    sleep(IDLE_TIMEOUT.abs_diff(HEADER_TIMEOUT) / 2).await;
    assert!(!still_open.is_finished());
    let answer = greeted.send_request(Request::new(Body::empty())).await;
    drop(answer.unwrap());
}

/// The paths of the requests that the watch thread would tell of.
fn under_way(fixture: &Fixture) -> Vec<String> {
    let requests = fixture.gauges.diagnose(None).requests;
    let mut paths: Vec<String> = requests.into_iter().map(|r| r.path).collect();
    paths.sort();
    paths
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_can_be_told() {
    let slow = || async {
        sleep(Duration::from_secs(5)).await;
        "slow"
    };
    let quick = get(|| async { "hello" });
    let router = Router::new().route("/slow", get(slow)).route("/", quick);
    let fixture = Fixture::new(router);
    let mut client = fixture.connect();
    for _ in 0..2 {
        client.get("/slow?secret=1").await;
        settle().await;
        assert_eq!(under_way(&fixture), ["/slow"]);
        client.read_until("slow").await;
        assert_eq!(under_way(&fixture), [""; 0]);
    }
    let (h2, _closed) = fixture.connect_h2().await;
    let ask = |uri: &str| {
        let request = Request::builder().uri(format!("http://test{uri}"));
        let request = request.body(Body::empty()).unwrap();
        let mut h2 = h2.clone();
        tokio::spawn(async move { h2.send_request(request).await.unwrap() })
    };
    let first = ask("/slow?1");
    sleep(Duration::from_secs(1)).await;
    let second = ask("/slow?2");
    client.get("/slow").await;
    settle().await;
    assert_eq!(under_way(&fixture), ["/slow"; 3]);
    drop(first.await.unwrap());
    settle().await;
    assert_eq!(under_way(&fixture), ["/slow"; 2]);
    drop(second.await.unwrap());
    client.read_until("slow").await;
    assert_eq!(under_way(&fixture), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_counted() {
    let fixture = hello();
    let mut client = fixture.connect();
    for _ in 0..3 {
        client.get("/").await;
        client.read_until("hello").await;
    }
    settle().await;
    assert_eq!(fixture.gauges.connections(), 1);
    assert_eq!(fixture.gauges.in_flight(), 0);
    drop(client);
    settle().await;
    assert_eq!(fixture.gauges.connections(), 0);
}
