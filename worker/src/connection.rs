//! Serving one connection, from its first byte to its last.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::patience::Patience;
use crate::service::Service;
use crate::stream::Tracked;
use crate::tracker::{Connection, Guard, Phase, Waiting};

/// How long an HTTP/2 client that has nothing under way may take to acknowledge the GOAWAY. It is polite
/// to wait for that (RFC 9113, 6.8), and a client that is stuck would hold up the stop.
const PARTING: Duration = Duration::from_millis(500);

/// How HTTP is spoken; the same for every connection.
#[derive(Debug)]
pub(crate) struct Http {
    builder: auto::Builder<TokioExecutor>,
    header_timeout: Option<Duration>,
}

impl Http {
    /// A client has `header_timeout` to send a request's header, counted from when the connection waits
    /// for one: so a connection may also be idle for as long. Zero is no limit. On HTTP/2 it holds for
    /// the first request only.
    pub(crate) fn new(header_timeout: Duration) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // The limit is kept by `Patience`.
        builder.http1().header_read_timeout(None);
        // Extended CONNECT (RFC 8441) is how a WebSocket comes over HTTP/2.
        builder
            .http2()
            .timer(TokioTimer::new())
            .enable_connect_protocol();
        Self {
            builder,
            header_timeout: Some(header_timeout).filter(|limit| !limit.is_zero()),
        }
    }

    /// Serves `stream` until it is closed, upgraded, or cut off by the tracker's phase.
    pub(crate) async fn serve<I>(self: Arc<Self>, stream: I, guard: Guard, router: Router)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Arc::clone(guard.connection());
        let service = Service::new(router, Arc::clone(&connection));
        let stream = TokioIo::new(Tracked::new(stream, guard));
        let serving = self.builder.serve_connection_with_upgrades(stream, service);
        let mut serving = pin!(serving);
        let mut patience = pin!(Patience::new(self.header_timeout));
        let mut watched = None;
        let mut closing = false;
        let mut parting = false;
        poll_fn(|cx| {
            // A task's waker stays the same, so this is done once.
            if !watched.as_ref().is_some_and(|w| cx.waker().will_wake(w)) {
                watched = Some(cx.waker().clone());
                connection.watch(Waiting::Reader, cx);
                patience.as_mut().watch(cx);
            }
            loop {
                let phase = connection.phase();
                if phase == Phase::Aborted {
                    return Poll::Ready(());
                }
                // First what has arrived, then the closing: a request that is here is still answered.
                if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                    if let Err(error) = ended {
                        tracing::debug!("a connection ended early: {error}");
                    }
                    return Poll::Ready(());
                }
                if phase >= Phase::Closing && !parting && connection.may_be_h2() {
                    parting = true;
                    patience.set(Patience::new(Some(PARTING)));
                    patience.as_mut().watch(cx);
                }
                let mut close = must_close(phase, &connection);
                // Idle HTTP/2 is in order, except before its first request and after its last.
                if (parting || !connection.is_h2())
                    && patience.as_mut().is_over(connection.turn(), cx)
                {
                    if closing || !connection.may_be_h2() {
                        return Poll::Ready(());
                    }
                    close = true;
                }
                if closing || !close {
                    return Poll::Pending;
                }
                closing = true;
                serving.as_mut().graceful_shutdown();
            }
        })
        .await;
    }
}

/// Whether to close as soon as what is under way is done. HTTP/2 has a way to say so that costs a client
/// nothing (GOAWAY); on HTTP/1 an early close can meet a request half-way, so clients are asked first.
fn must_close(phase: Phase, connection: &Connection) -> bool {
    match phase {
        Phase::Serving => false,
        Phase::LameDuck => connection.is_h2(),
        Phase::Closing | Phase::Aborted => true,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use futures_util::StreamExt as _;
    use http::Request;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::fixture::{Fixture, HEADER_TIMEOUT, settle};

    fn hello() -> Fixture {
        Fixture::new(Router::new().route("/", get(|| async { "hello" })))
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
        assert_eq!(client.closed().await, HEADER_TIMEOUT);
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
    async fn an_h2_client_has_it_for_its_first_request_only() {
        let fixture = hello();
        let begun = Instant::now();
        let (_silent, closed) = fixture.connect_h2().await;
        let (mut greeted, still_open) = fixture.connect_h2().await;
        let answer = greeted.send_request(Request::new(Body::empty())).await;
        drop(answer.unwrap());
        closed.await.unwrap();
        assert_eq!(begun.elapsed(), HEADER_TIMEOUT);
        sleep(HEADER_TIMEOUT * 3).await;
        assert!(!still_open.is_finished());
        let answer = greeted.send_request(Request::new(Body::empty())).await;
        drop(answer.unwrap());
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
}
