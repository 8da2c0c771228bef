//! A header before the first request: who is answered, who is cut off when, and what handlers are told.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use hatchery_protocol::child::DrainCause;

use super::*;
use crate::ClientInfo;
use crate::fixture::{CLIENT, Fixture, HEADER_TIMEOUT, HERE, LAME_DUCK, LIMITS, settle};

const HEADER: &str = "PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n";
const BUDGET: Duration = Duration::from_secs(10);

fn proxied() -> Fixture {
    Fixture::with_opening(router(), Opening::proxied())
}

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/whence", get(whence))
}

async fn whence(
    ConnectInfo(client): ConnectInfo<ClientInfo>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
) -> String {
    assert_eq!(client.address(), Some(address));
    assert_eq!(client.listener(), Some("test"));
    let local = client.local_address().unwrap();
    let proxy = client.proxy().map(|proxy| proxy.to_string());
    format!("{address} to {local} by {}|", proxy.unwrap_or_default())
}

fn told_by_proxy() -> String {
    format!("198.51.100.7:5000 to 203.0.113.9:443 by {CLIENT}|")
}

#[tokio::test(start_paused = true)]
async fn handlers_are_told_of_the_client() {
    let fixture = Fixture::telling_clients(router());
    let mut client = fixture.connect();
    for _ in 0..2 {
        client.get("/whence").await;
        let answer = client.read_until("|").await;
        let told = format!("{CLIENT} to {HERE} by |");
        assert!(answer.ends_with(&told), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_are_told_nothing_unless_they_asked() {
    let bare = |request: Request| async move {
        let info = request.extensions().get::<ConnectInfo<ClientInfo>>();
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
        format!("{}|", info.is_none() && address.is_none())
    };
    let router = Router::new().route("/", get(bare));
    let mut client = Fixture::with_limits(router, &LIMITS).connect();
    client.get("/").await;
    let answer = client.read_until("|").await;
    assert!(answer.ends_with("true|"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_proxys_client_is_the_client() {
    let fixture = proxied();
    // In one piece with the request, and before it.
    let mut together = fixture.connect();
    together
        .send(&format!("{HEADER}GET /whence HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    let mut before = fixture.connect();
    before.send(HEADER).await;
    settle().await;
    before.get("/whence").await;
    for mut client in [together, before] {
        let answer = client.read_until("|").await;
        assert!(answer.ends_with(&told_by_proxy()), "{answer}");
        client.get("/whence").await;
        let answer = client.read_until("|").await;
        assert!(answer.ends_with(&told_by_proxy()), "{answer}");
    }
    let mut itself = fixture.connect();
    itself.send("PROXY UNKNOWN\r\n").await;
    itself.get("/whence").await;
    let answer = itself.read_until("|").await;
    let told = format!("{CLIENT} to {HERE} by |");
    assert!(answer.ends_with(&told), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn whoever_brings_no_header_is_cut_off() {
    let fixture = proxied();
    for sent in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROXY TCP4 x\r\n"] {
        let mut client = fixture.connect();
        client.send(sent).await;
        assert_eq!(client.read_until("never").await, "", "after {sent:?}");
    }
    settle().await;
    assert_eq!(fixture.gauges.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_for_the_first_header_is_for_the_proxys_too() {
    let fixture = proxied();
    for sent in ["", "PROXY TCP4 198."] {
        let mut client = fixture.connect();
        client.send(sent).await;
        assert_eq!(client.closed().await, HEADER_TIMEOUT, "after {sent:?}");
    }
    let mut client = fixture.connect();
    tokio::time::sleep(HEADER_TIMEOUT / 2).await;
    client.send(HEADER).await;
    tokio::time::sleep(HEADER_TIMEOUT / 4).await;
    client.send("GET / HTTP/1.1\r\nHo").await;
    assert_eq!(client.closed().await, HEADER_TIMEOUT / 4);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_go_who_has_said_nothing_and_waits_for_who_has() {
    let fixture = proxied();
    let (mut silent, mut half, mut late) =
        (fixture.connect(), fixture.connect(), fixture.connect());
    half.send("PROXY TCP4 198.").await;
    late.send("PROXY TCP4 198.").await;
    settle().await;
    assert_eq!(fixture.gauges.connections(), 3);
    let drained = fixture.drain(DrainCause::Asked, BUDGET);
    assert_eq!(silent.closed().await.as_secs(), LAME_DUCK.as_secs());
    late.send("51.100.7 203.0.113.9 5000 443\r\n").await;
    late.get("/").await;
    let answer = late.read_until("hello").await;
    assert!(answer.contains("connection: close"), "{answer}");
    half.closed().await;
    let took = drained.await.unwrap();
    assert!(
        took.abs_diff(BUDGET) < Duration::from_millis(300),
        "{took:?}"
    );
}
