//! Serving one connection, from its first byte to its last.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hatchery_protocol::boot::HttpLimits;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::Instant;

use crate::client::ClientInfo;
use crate::patience::{Limits, Patience};
use crate::service::Service;
use crate::stream::{Tracked, Wire};
use crate::tracker::{Guard, Phase, Waiting};

/// How long an HTTP/2 client that has nothing under way may take to acknowledge the GOAWAY. It is polite
/// to wait for that (RFC 9113, 6.8), and a client that is stuck would hold up the stop.
const PARTING: Duration = Duration::from_millis(500);

/// A connection that has come, apart from its stream.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) guard: Guard,
    /// Since when the client owes its first request.
    pub(crate) since: Instant,
    /// What handlers are told, if they are told anything.
    pub(crate) client: Option<ClientInfo>,
}

/// How HTTP is spoken; the same for every connection.
#[derive(Debug)]
pub(crate) struct Http {
    /// hyper reads on while a request is answered, and so notices when a client leaves.
    on_stream: auto::Builder<TokioExecutor>,
    /// For sockets, which tell when a client leaves: hyper does not read while a request is answered.
    on_socket: auto::Builder<TokioExecutor>,
    patience: Limits,
}

impl Http {
    pub(crate) fn new(limits: &HttpLimits) -> Self {
        let on_stream = builder(limits);
        let mut on_socket = on_stream.clone();
        on_socket.http1().half_close(true);
        Self {
            on_stream,
            on_socket,
            patience: Limits {
                header: limits.header_timeout,
                idle: limits.idle_timeout,
            },
        }
    }

    /// When a connection is closed on which HTTP has not even begun.
    pub(crate) fn opening_deadline(&self, arrival: &Arrival) -> Instant {
        arrival.since + self.patience.header
    }

    /// Serves `stream` until it is closed, upgraded, or cut off by the tracker's phase.
    pub(crate) async fn serve<I>(self: Arc<Self>, stream: I, arrival: Arrival, router: Router)
    where
        I: Wire,
    {
        let Arrival {
            guard,
            since,
            client,
        } = arrival;
        let connection = Arc::clone(guard.connection());
        let service = Service::new(router, Arc::clone(&connection), client);
        let stream = TokioIo::new(Tracked::new(stream, guard));
        let builder = if I::IS_SOCKET {
            &self.on_socket
        } else {
            &self.on_stream
        };
        let serving = builder.serve_connection_with_upgrades(stream, service);
        let mut serving = pin!(serving);
        let mut patience = pin!(Patience::since(since, self.patience));
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
                let over = patience.as_mut().is_over(connection.turn(), cx);
                if over && (parting || !connection.may_be_h2()) {
                    return Poll::Ready(());
                }
                let last = over || phase >= Phase::Closing || connection.is_spent();
                if last && !parting && connection.may_be_h2() {
                    parting = true;
                    patience.set(Patience::new(Limits::all(PARTING)));
                    patience.as_mut().watch(cx);
                }
                // HTTP/2 has a way to say so that costs a client nothing (GOAWAY). On HTTP/1 an early close
                // can meet a request half-way: there clients are asked first, with their answers.
                let close = last || (phase == Phase::LameDuck && connection.is_h2());
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

fn builder(limits: &HttpLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_size = limits.max_header_size;
    builder
        .http1()
        // The limit is kept by `Patience`.
        .header_read_timeout(None)
        .max_buf_size(usize::try_from(header_size).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(header_size)
        // Extended CONNECT (RFC 8441) is how a WebSocket comes over HTTP/2.
        .enable_connect_protocol();
    builder
}

#[cfg(test)]
mod hang_up;
#[cfg(test)]
mod tests;
