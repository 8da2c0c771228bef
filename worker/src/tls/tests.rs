//! Over TLS everything is as it is without, and a client hears when it is over.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use hatchery_protocol::boot::{Family, ListenerBoot, Source, TlsFiles};
use hatchery_protocol::child::DrainCause;
use hatchery_protocol::secret::Secret;
use http::Request;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixture::{Authority, HOST};
use crate::ClientInfo;
use crate::fixture::{Fixture, HEADER_TIMEOUT, LAME_DUCK, settle};
use crate::opening::Opening;

const BUDGET: Duration = Duration::from_secs(10);

/// A worker whose certificate is of an authority.
struct Secure {
    fixture: Fixture,
    authority: Authority,
    _dir: TempDir,
}

fn secure(proxy_protocol: bool) -> Secure {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let files = authority.issue("app").write(dir.path());
    let opening = opening(files, proxy_protocol, &Secret::random().unwrap());
    let whence = |ConnectInfo(client): ConnectInfo<ClientInfo>| async move {
        let tls = client.tls().unwrap();
        let (name, alpn) = (tls.server_name(), tls.alpn());
        let address = client.address().unwrap();
        format!("{address} {name:?} {alpn:?} {:?}|", tls.version())
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/endless", get(std::future::pending::<()>))
        .route("/upgrade", get(upgrade))
        .route("/whence", get(whence));
    Secure {
        fixture: Fixture::with_opening(router, opening),
        authority,
        _dir: dir,
    }
}

/// Waits for one message, then is done.
async fn upgrade(mut request: axum::extract::Request) -> http::Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let _ = stream.read(&mut [0; 8]).await;
    });
    http::Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "silence")
        .body(Body::empty())
        .unwrap()
}

fn opening(files: TlsFiles, proxy_protocol: bool, secret: &Secret) -> Opening {
    let boot = ListenerBoot {
        address: "test".into(),
        name: None,
        family: Family::Tcp,
        source: Source::Accept,
        proxy_protocol,
        tls: Some(files),
    };
    Opening::new(&boot, Some(secret)).unwrap().unwrap()
}

impl Secure {
    async fn handshake(&self, stream: DuplexStream, protocols: &[&str]) -> TlsStream<DuplexStream> {
        let connector = TlsConnector::from(self.authority.client(protocols));
        let name = ServerName::try_from(HOST).unwrap();
        connector.connect(name, stream).await.unwrap()
    }

    async fn connect(&self, protocols: &[&str]) -> TlsStream<DuplexStream> {
        self.handshake(self.fixture.connect().stream, protocols)
            .await
    }
}

async fn ask(stream: &mut TlsStream<DuplexStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") && !answer.ends_with(b"|") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn handlers_are_told_what_was_agreed_upon() {
    let secure = secure(false);
    let mut stream = secure.connect(&["http/1.1"]).await;
    let answer = ask(&mut stream, "/whence").await;
    let told = r#"192.0.2.1:1111 Some("app.test") Some("http/1.1") Some("TLSv1_3")|"#;
    assert!(answer.ends_with(told), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_proxys_header_comes_before_the_handshake() {
    let secure = secure(true);
    let mut client = secure.fixture.connect();
    client
        .send("PROXY TCP4 198.51.100.7 203.0.113.9 5000 443\r\n")
        .await;
    let mut stream = secure.handshake(client.stream, &[]).await;
    let answer = ask(&mut stream, "/whence").await;
    let told = r#"198.51.100.7:5000 Some("app.test") None Some("TLSv1_3")|"#;
    assert!(answer.ends_with(told), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn h2_is_chosen_by_those_who_speak_it() {
    let secure = secure(false);
    let stream = secure.connect(&["http/1.1", "h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let closed = tokio::spawn(connection);
    let request = Request::new(Body::empty());
    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    let drained = secure.fixture.drain(DrainCause::Asked, BUDGET);
    // An orderly end: GOAWAY and close_notify, or the client's TLS would say so.
    closed.await.unwrap().unwrap();
    assert!(drained.await.unwrap() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_goodbye_to_idle_clients() {
    let secure = secure(false);
    let mut idle = secure.connect(&[]).await;
    ask(&mut idle, "/").await;
    let mut fresh = secure.connect(&["http/1.1"]).await;
    settle().await;
    let drained = secure.fixture.drain(DrainCause::Asked, BUDGET);
    let mut rest = Vec::new();
    // Without a close_notify this would be an error.
    idle.read_to_end(&mut rest).await.unwrap();
    fresh.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    let took = drained.await.unwrap();
    assert!(
        took.abs_diff(LAME_DUCK) < Duration::from_millis(300),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_in_the_lame_duck_is_answered_as_the_last() {
    let secure = secure(false);
    let mut stream = secure.connect(&["http/1.1"]).await;
    ask(&mut stream, "/").await;
    let drained = secure.fixture.drain(DrainCause::Asked, BUDGET);
    settle().await;
    let answer = ask(&mut stream, "/").await;
    assert!(answer.contains("connection: close"), "{answer}");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(drained.await.unwrap() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_time_for_the_first_header_is_for_the_handshake_too() {
    let secure = secure(false);
    for sent in [b"".as_slice(), b"\x16\x03\x01"] {
        let mut client = secure.fixture.connect();
        client.stream.write_all(sent).await.unwrap();
        assert_eq!(client.closed().await, HEADER_TIMEOUT, "after {sent:?}");
    }
    let client = secure.fixture.connect();
    tokio::time::sleep(HEADER_TIMEOUT / 2).await;
    let mut stream = secure.handshake(client.stream, &[]).await;
    let begun = tokio::time::Instant::now();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(begun.elapsed(), HEADER_TIMEOUT / 2);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_ends_with_the_drain() {
    let secure = secure(false);
    let (mut silent, mut half) = (secure.fixture.connect(), secure.fixture.connect());
    half.stream.write_all(b"\x16\x03\x01").await.unwrap();
    settle().await;
    assert_eq!(secure.fixture.gauges.connections(), 2);
    let drained = secure.fixture.drain(DrainCause::Asked, BUDGET);
    assert_eq!(silent.closed().await.as_secs(), LAME_DUCK.as_secs());
    half.closed().await;
    let took = drained.await.unwrap();
    assert!(
        took.abs_diff(BUDGET) < Duration::from_millis(300),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_speaks_no_tls_is_cut_off() {
    let secure = secure(false);
    let mut client = secure.fixture.connect();
    client.get("/").await;
    assert_eq!(client.closed().await, Duration::ZERO);
    settle().await;
    assert_eq!(secure.fixture.gauges.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_too_long_is_told_and_an_answer_that_is_cut_looks_so() {
    let secure = secure(false);
    let mut idle = secure.connect(&[]).await;
    ask(&mut idle, "/").await;
    idle.read_to_end(&mut Vec::new()).await.unwrap();

    let mut cut = secure.connect(&[]).await;
    let request = format!("GET /endless HTTP/1.0\r\nHost: {HOST}\r\n\r\n");
    cut.write_all(request.as_bytes()).await.unwrap();
    settle().await;
    let drained = secure.fixture.drain(DrainCause::Asked, BUDGET);
    let ended = cut.read_to_end(&mut Vec::new()).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    drained.await.unwrap();
}

/// A client that was upgraded to a protocol of which the server speaks nothing.
async fn upgraded(secure: &Secure) -> TlsStream<DuplexStream> {
    let mut stream = secure.connect(&[]).await;
    let request = format!(
        "GET /upgrade HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: silence\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_client_is_told_by_its_handler_and_cut_off_by_the_deadline() {
    let secure = secure(false);
    let mut left = upgraded(&secure).await;
    left.write_all(b"bye").await.unwrap();
    left.read_to_end(&mut Vec::new()).await.unwrap();

    let mut stays = upgraded(&secure).await;
    let drained = secure.fixture.drain(DrainCause::Asked, BUDGET);
    let ended = stays.read_to_end(&mut Vec::new()).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    drained.await.unwrap();
}
