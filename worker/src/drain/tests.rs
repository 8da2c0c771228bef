//! Every kind of connection has to be gone by the deadline, and none may lose an answer before it.

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::fixture::{Client, Fixture, LAME_DUCK, settle};

const BUDGET: Duration = Duration::from_secs(10);

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Sends one thing at once, and then nothing, for ever.
fn endless() -> Router {
    let chunks = || {
        stream::unfold(true, |first| async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, std::io::Error>("chunk"), false))
        })
    };
    Router::new().route("/", get(move || async move { Body::from_stream(chunks()) }))
}

/// `measured` is `expected`, give or take what the real clock moved while the virtual one stood still.
#[track_caller]
fn assert_took(measured: Duration, expected: Duration) {
    let slack = Duration::from_millis(300);
    assert!(
        measured >= expected.saturating_sub(slack) && measured <= expected + slack,
        "took {measured:?} instead of {expected:?}"
    );
}

async fn greet(client: &mut Client) {
    client.get("/").await;
    let answer = client.read_until("hello").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn without_connections_it_is_over_at_once() {
    let fixture = Fixture::new(hello());
    let token = fixture.shutdown.token().clone();
    let took = fixture.drain(DrainCause::Asked, BUDGET).await.unwrap();
    assert_took(took, Duration::ZERO);
    assert!(token.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_client_is_told_with_its_next_answer() {
    let fixture = Fixture::new(hello());
    let mut client = fixture.connect();
    greet(&mut client).await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    settle().await;
    client.get("/").await;
    let answer = client.read_until("hello").await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_took(client.closed().await, Duration::ZERO);
    assert_took(drained.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_keeps_its_connection_for_the_lame_duck() {
    let fixture = Fixture::new(hello());
    let (mut idle, mut fresh) = (fixture.connect(), fixture.connect());
    greet(&mut idle).await;
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert_took(idle.closed().await, LAME_DUCK);
    assert_took(fresh.closed().await, Duration::ZERO);
    assert_took(drained.await.unwrap(), LAME_DUCK);
}

#[tokio::test(start_paused = true)]
async fn clients_in_the_queue_are_served() {
    let fixture = Fixture::new(hello());
    // Neither is accepted before the drain begins: nothing has run in between.
    let mut clients = [fixture.connect(), fixture.connect()];
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    for client in &mut clients {
        client.get("/").await;
        let answer = client.read_until("hello").await;
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_took(drained.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_waited_for() {
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        "hello"
    };
    let fixture = Fixture::new(Router::new().route("/", get(slow)));
    let gauges = Arc::clone(&fixture.gauges);
    let mut client = fixture.connect();
    client.get("/").await;
    settle().await;
    assert_eq!(gauges.in_flight(), 1);
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    let answer = client.read_until("hello").await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_took(drained.await.unwrap(), Duration::from_secs(7));
    assert_eq!(gauges.in_flight(), 0);
    assert_eq!(gauges.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn half_a_header_is_cut_off_at_the_deadline() {
    let fixture = Fixture::new(hello());
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: te").await;
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert_took(client.closed().await, BUDGET);
    assert_took(drained.await.unwrap(), BUDGET);
}

#[tokio::test(start_paused = true)]
async fn the_second_half_of_a_header_may_come_during_the_drain() {
    let fixture = Fixture::new(hello());
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: te").await;
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.send("st\r\n\r\n").await;
    let answer = client.read_until("hello").await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_took(drained.await.unwrap(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_is_cut_off_at_the_deadline() {
    let fixture = Fixture::new(endless());
    let gauges = Arc::clone(&fixture.gauges);
    let mut client = fixture.connect();
    client.get("/").await;
    client.read_until("chunk").await;
    assert_eq!(gauges.in_flight(), 1);
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert_took(client.closed().await, BUDGET);
    assert_took(drained.await.unwrap(), BUDGET);
    assert_eq!(gauges.in_flight(), 0);
    assert_eq!(gauges.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_watches_the_token_ends_after_the_lame_duck() {
    let shutdown = Shutdown::new();
    let token = shutdown.token().clone();
    let body = move || {
        let token = token.clone();
        Body::from_stream(stream::unfold(0, move |n| {
            let token = token.clone();
            async move {
                if n > 0 {
                    token.cancelled().await;
                }
                (n < 2).then_some((Ok::<_, std::io::Error>("chunk"), n + 1))
            }
        }))
    };
    let router = Router::new().route("/", get(move || async move { body() }));
    let mut fixture = Fixture::new(router);
    fixture.shutdown = shutdown;
    let mut client = fixture.connect();
    client.get("/").await;
    client.read_until("chunk").await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    let rest = client.read_until("0\r\n\r\n").await;
    assert!(rest.ends_with("chunk\r\n0\r\n\r\n"), "{rest}");
    assert_took(drained.await.unwrap(), LAME_DUCK);
}

#[tokio::test(start_paused = true)]
async fn an_idle_h2_client_is_told_at_once() {
    let fixture = Fixture::new(hello());
    let (mut h2, closed) = fixture.connect_h2().await;
    let answer = h2.send_request(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("connection"));
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    closed.await.unwrap();
    assert!(h2.is_closed());
    assert_took(drained.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_h2_client_that_never_asked_is_told_after_the_lame_duck() {
    let fixture = Fixture::new(hello());
    let (h2, closed) = fixture.connect_h2().await;
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    closed.await.unwrap();
    assert_took(drained.await.unwrap(), LAME_DUCK);
    drop(h2);
}

#[tokio::test(start_paused = true)]
async fn an_h2_client_that_does_not_answer_gets_a_moment() {
    let fixture = Fixture::new(hello());
    let mut client = fixture.connect();
    // The preface and empty settings, and then silence: no ping is ever acknowledged.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send("\0\0\0\u{4}\0\0\0\0\0").await;
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert_took(
        drained.await.unwrap(),
        LAME_DUCK + Duration::from_millis(500),
    );
}

#[tokio::test(start_paused = true)]
async fn an_h2_request_in_flight_is_waited_for() {
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        "hello"
    };
    let fixture = Fixture::new(Router::new().route("/", get(slow)));
    let gauges = Arc::clone(&fixture.gauges);
    let (mut h2, _closed) = fixture.connect_h2().await;
    let answer = tokio::spawn(h2.send_request(Request::new(Body::empty())));
    settle().await;
    assert_eq!(gauges.in_flight(), 1);
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    let body = answer.await.unwrap().unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    assert_took(drained.await.unwrap(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn an_h2_client_that_asks_in_the_lame_duck_is_answered_and_told() {
    let fixture = Fixture::new(hello());
    let (mut h2, closed) = fixture.connect_h2().await;
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    settle().await;
    let answer = h2.send_request(Request::new(Body::empty())).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    closed.await.unwrap();
    assert_took(drained.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_endless_h2_stream_is_cut_off_at_the_deadline() {
    let fixture = Fixture::new(endless());
    let gauges = Arc::clone(&fixture.gauges);
    let (mut h2, closed) = fixture.connect_h2().await;
    let answer = h2.send_request(Request::new(Body::empty())).await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(gauges.in_flight(), 1);
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert!(body.frame().await.unwrap().is_err());
    closed.await.unwrap();
    assert_took(drained.await.unwrap(), BUDGET);
    settle().await;
    assert_eq!(gauges.in_flight(), 0);
}

/// A handler that takes the connection over and reads from it until it fails.
fn upgrading(failed: tokio::sync::mpsc::UnboundedSender<std::io::ErrorKind>) -> Router {
    let handler = move |mut request: Request<Body>| async move {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let mut stream = TokioIo::new(upgraded);
            let error = stream.read_u8().await.unwrap_err();
            failed.send(error.kind()).unwrap();
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "test")
            .body(Body::empty())
            .unwrap()
    };
    Router::new().route("/", any(handler))
}

async fn upgrade(client: &mut Client) {
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n")
        .await;
    let answer = client.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("connection: upgrade"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_counts_and_is_cut_off_at_the_deadline() {
    let (failed, mut failure) = unbounded_channel();
    let fixture = Fixture::new(upgrading(failed));
    let gauges = Arc::clone(&fixture.gauges);
    let mut client = fixture.connect();
    upgrade(&mut client).await;
    settle().await;
    assert_eq!(gauges.connections(), 1);
    assert_eq!(gauges.in_flight(), 0);
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert_took(client.closed().await, BUDGET);
    assert_eq!(
        failure.recv().await,
        Some(std::io::ErrorKind::ConnectionAborted)
    );
    assert_took(drained.await.unwrap(), BUDGET);
    assert_eq!(gauges.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_during_the_drain_is_still_an_upgrade() {
    let (failed, mut failure) = unbounded_channel();
    let fixture = Fixture::new(upgrading(failed));
    let mut client = fixture.connect();
    settle().await;
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    settle().await;
    upgrade(&mut client).await;
    drop(client);
    assert_eq!(
        failure.recv().await,
        Some(std::io::ErrorKind::UnexpectedEof)
    );
    assert_took(drained.await.unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stricter_order_is_obeyed_in_every_phase() {
    for already in [Duration::from_millis(500), Duration::from_secs(5)] {
        let fixture = Fixture::new(endless());
        let mut client = fixture.connect();
        client.get("/").await;
        client.read_until("chunk").await;
        let shutdown = fixture.shutdown.clone();
        let drained = fixture.drain(DrainCause::Asked, BUDGET);
        tokio::time::sleep(already).await;
        shutdown.give(DrainCause::Asked, monotonic());
        assert_took(drained.await.unwrap(), already);
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphan_keeps_time_for_its_goodbye() {
    let fixture = Fixture::new(endless());
    let mut client = fixture.connect();
    client.get("/").await;
    client.read_until("chunk").await;
    let drained = fixture.drain(DrainCause::MasterLost, Duration::from_secs(5));
    let took = drained.await.unwrap();
    assert_took(took, Duration::from_millis(4500));
    assert!(took < Duration::from_secs(5), "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lame_duck_leaves_half_of_a_short_time() {
    let fixture = Fixture::new(endless());
    let token = fixture.shutdown.token().clone();
    let mut client = fixture.connect();
    client.get("/").await;
    client.read_until("chunk").await;
    let begun = Instant::now();
    let drained = fixture.drain(DrainCause::Asked, Duration::from_secs(3));
    token.cancelled().await;
    assert_took(begun.elapsed(), Duration::from_millis(1500));
    assert_took(drained.await.unwrap(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_early_ends_its_request() {
    let fixture = Fixture::new(endless());
    let mut client = fixture.connect();
    client.get("/").await;
    client.read_until("chunk").await;
    let (mut h2, _closed) = fixture.connect_h2().await;
    let answer = h2.send_request(Request::new(Body::empty())).await.unwrap();
    assert_eq!(fixture.gauges.in_flight(), 2);
    assert_eq!(fixture.gauges.connections(), 2);
    drop((client, answer, h2));
    settle().await;
    assert_eq!(fixture.gauges.in_flight(), 0);
    assert_eq!(fixture.gauges.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_ends_its_request() {
    let broken = |uri: http::Uri| async move { assert_ne!(uri.path(), "/", "on purpose") };
    let fixture = Fixture::new(Router::new().route("/", get(broken)));
    let mut client = fixture.connect();
    client.get("/").await;
    assert_took(client.closed().await, Duration::ZERO);
    assert_eq!(fixture.gauges.in_flight(), 0);
    assert_eq!(fixture.gauges.connections(), 0);
}
