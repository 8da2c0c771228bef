//! A server without a master, on connections without a network: with the clock paused, every test of time
//! is exact and takes none.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hatchery_protocol::boot::HttpLimits;
use hatchery_protocol::child::gauge::GaugeCells;
use hatchery_protocol::child::{DrainCause, Shutdown};
use hatchery_protocol::clock::monotonic;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::accept::{Accept, Accepted};
use crate::drain::drain;
use crate::opening::Opening;
use crate::server::{Listener, Server};
use crate::stream::{Socket, Wire};

pub(crate) const LAME_DUCK: Duration = Duration::from_secs(2);
pub(crate) const LIMITS: HttpLimits = HttpLimits {
    header_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(90),
    max_header_size: 16 * 1024,
    max_connections: 0,
    max_requests_per_connection: 0,
};
pub(crate) const HEADER_TIMEOUT: Duration = LIMITS.header_timeout;
pub(crate) const IDLE_TIMEOUT: Duration = LIMITS.idle_timeout;

/// A source that accepts what a test connects.
pub(crate) struct Queue(pub(crate) UnboundedReceiver<io::Result<DuplexStream>>);

impl Accept for Queue {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<Accepted<DuplexStream>> {
        match self.0.recv().await {
            Some(stream) => Ok(accepted(stream?)),
            None => std::future::pending().await,
        }
    }

    fn close(mut self, mut take: impl FnMut(Accepted<DuplexStream>)) {
        while let Ok(Ok(stream)) = self.0.try_recv() {
            take(accepted(stream));
        }
    }
}

fn accepted(stream: DuplexStream) -> Accepted<DuplexStream> {
    let listener = 0;
    Accepted { listener, stream }
}

/// Where the clients of tests come from.
pub(crate) const CLIENT: &str = "192.0.2.1:1111";
/// Where they connect to.
pub(crate) const HERE: &str = "192.0.2.2:80";

impl Wire for DuplexStream {}

impl Socket for DuplexStream {
    fn peer_address(&self) -> Option<SocketAddr> {
        CLIENT.parse().ok()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        HERE.parse().ok()
    }

    fn reset_on_close(&mut self) {}
}

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) gauges: Arc<GaugeCells>,
    pub(crate) shutdown: Shutdown,
    source: UnboundedSender<io::Result<DuplexStream>>,
}

impl Fixture {
    pub(crate) fn new(router: Router) -> Self {
        Self::with_limits(router, &LIMITS)
    }

    pub(crate) fn with_limits(router: Router, limits: &HttpLimits) -> Self {
        Self::listening(router, limits, false, None)
    }

    /// Connections begin with an opening, and handlers are told of their clients.
    pub(crate) fn with_opening(router: Router, opening: Opening) -> Self {
        Self::listening(router, &LIMITS, true, Some(opening))
    }

    pub(crate) fn telling_clients(router: Router) -> Self {
        Self::listening(router, &LIMITS, true, None)
    }

    fn listening(
        router: Router,
        limits: &HttpLimits,
        connect_info: bool,
        opening: Option<Opening>,
    ) -> Self {
        let gauges = Arc::new(GaugeCells::new(1));
        let mut server = Server::new(router, &gauges, limits);
        server.set_connect_info(connect_info);
        let (source, queue) = unbounded_channel();
        server.set_listeners(vec![Listener::new(Some("test"), opening)]);
        server.listen(Queue(queue));
        Self {
            server,
            gauges,
            shutdown: Shutdown::new(),
            source,
        }
    }

    pub(crate) fn connect(&self) -> Client {
        let (client, server) = duplex(64 * 1024);
        self.source.send(Ok(server)).unwrap();
        Client {
            stream: client,
            unread: VecDeque::new(),
        }
    }

    /// An HTTP/2 connection, and the task that ends when it is closed.
    pub(crate) async fn connect_h2(&self) -> (H2, JoinHandle<()>) {
        let stream = TokioIo::new(self.connect().stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
        let closed = tokio::spawn(async move {
            let _ = connection.await;
        });
        (sender, closed)
    }

    /// Gives the order to leave and follows it. The result is how long that took.
    pub(crate) fn drain(self, cause: DrainCause, budget: Duration) -> JoinHandle<Duration> {
        self.shutdown.give(cause, monotonic() + budget);
        let mut server = self.server;
        let shutdown = self.shutdown;
        let source = self.source;
        let order = shutdown.order().unwrap();
        tokio::spawn(async move {
            let begun = Instant::now();
            drain(&mut server, order, &shutdown, LAME_DUCK).await;
            drop(source);
            begun.elapsed()
        })
    }
}

pub(crate) type H2 = hyper::client::conn::http2::SendRequest<axum::body::Body>;

/// Lets everything run that can. The clock is paused, so this is no guess: a millisecond passes only when
/// every task waits for something.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// An HTTP/1 client that shows every byte.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    unread: VecDeque<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .await;
    }

    /// Reads up to and with `end`, or to the end of the stream.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            if self.unread.is_empty() {
                let mut chunk = [0; 4096];
                match self.stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => self.unread.extend(&chunk[..n]),
                }
            }
            seen.extend(self.unread.pop_front());
        }
        String::from_utf8(seen).unwrap()
    }

    /// Reads to the end of the stream; how long that took.
    pub(crate) async fn closed(&mut self) -> Duration {
        let begun = Instant::now();
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        begun.elapsed()
    }
}
