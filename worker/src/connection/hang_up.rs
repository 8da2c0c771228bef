//! Clients that leave before they have their answers, on sockets.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use hatchery_protocol::boot::Family;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::*;
use crate::accept::{Accept, Accepted};
use crate::fixture::Fixture;
use crate::opening::Opening;
use crate::stream::Stream;

const PATIENCE: Duration = Duration::from_secs(20);

struct Sockets(UnboundedReceiver<Stream>);

impl Accept for Sockets {
    type Stream = Stream;

    async fn accept(&mut self) -> std::io::Result<Accepted<Stream>> {
        match self.0.recv().await {
            Some(stream) => Ok(Accepted {
                listener: 0,
                stream,
            }),
            None => pending().await,
        }
    }

    fn close(self, _: impl FnMut(Accepted<Stream>)) {}
}

struct Served {
    fixture: Fixture,
    sockets: UnboundedSender<Stream>,
}

fn serve(router: Router) -> Served {
    listen(Fixture::new(router))
}

fn listen(mut fixture: Fixture) -> Served {
    let (sockets, queue) = unbounded_channel();
    fixture.server.listen(Sockets(queue));
    Served { fixture, sockets }
}

impl Served {
    async fn connect(&self, family: Family) -> Stream {
        let (server, client) = pair(family).await;
        let open = |end| Stream::open(family, end).unwrap();
        self.sockets.send(open(server)).unwrap();
        open(client)
    }

    /// Nobody else is connected.
    async fn nobody_is_left(&self) {
        let gone = async {
            while self.fixture.gauges.connections() > 0 {
                tokio::task::yield_now().await;
            }
        };
        in_time(gone).await;
    }
}

async fn pair(family: Family) -> (OwnedFd, OwnedFd) {
    if family == Family::Unix {
        let (server, client) = tokio::net::UnixStream::pair().unwrap();
        return (
            server.into_std().unwrap().into(),
            client.into_std().unwrap().into(),
        );
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::net::TcpStream::connect(address).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (
        server.into_std().unwrap().into(),
        client.into_std().unwrap().into(),
    )
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("time is over")
}

/// Lets the server see what has arrived: each turn of the runtime looks.
async fn turns() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// Says that it was begun, and that it was dropped.
#[derive(Clone, Default)]
struct Witness {
    begun: Arc<Notify>,
    dropped: Arc<Notify>,
}

struct Held(Arc<Notify>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Witness {
    async fn hold(self) {
        let _held = Held(Arc::clone(&self.dropped));
        self.begun.notify_one();
        pending::<()>().await;
    }
}

/// Three handlers that never answer, or never to the end.
fn never(witness: &Witness) -> Router {
    let (got, posted, streamed) = (witness.clone(), witness.clone(), witness.clone());
    let stream = move || async move {
        let rest = futures_util::stream::once(streamed.hold());
        let rest = rest.map(|()| Ok::<_, Infallible>(Bytes::new()));
        let first = futures_util::stream::iter([Ok(Bytes::from_static(b"first"))]);
        Body::from_stream(first.chain(rest))
    };
    Router::new()
        .route("/get", get(move || got.hold()))
        .route("/post", post(move |_: Bytes| posted.hold()))
        .route("/stream", get(stream))
}

const REQUESTS: [&str; 3] = [
    "GET /get HTTP/1.1\r\nHost: test\r\n\r\n",
    "POST /post HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab",
    "GET /stream HTTP/1.1\r\nHost: test\r\n\r\n",
];

/// Each of them loses its request when its client leaves in this way.
async fn expect_taken_along<F: Future>(leave: impl Fn(Stream) -> F) {
    for family in [Family::Tcp, Family::Unix] {
        for request in REQUESTS {
            let witness = Witness::default();
            let served = serve(never(&witness));
            let mut client = served.connect(family).await;
            client.write_all(request.as_bytes()).await.unwrap();
            in_time(witness.begun.notified()).await;
            let _left = leave(client).await;
            in_time(witness.dropped.notified()).await;
            served.nobody_is_left().await;
        }
    }
}

#[tokio::test]
async fn whoever_leaves_takes_the_request_along() {
    expect_taken_along(|client| async { drop(client) }).await;
}

/// What came ahead with the header that is taken off is no client that is still there.
#[tokio::test]
async fn whoever_leaves_behind_a_proxy_takes_the_request_along() {
    for request in REQUESTS {
        let witness = Witness::default();
        let served = listen(Fixture::with_opening(never(&witness), Opening::proxied()));
        let mut client = served.connect(Family::Tcp).await;
        let sent = format!("PROXY UNKNOWN\r\n{request}");
        client.write_all(sent.as_bytes()).await.unwrap();
        in_time(witness.begun.notified()).await;
        drop(client);
        in_time(witness.dropped.notified()).await;
        served.nobody_is_left().await;
    }
}

/// It has nothing more to say, which is how many clients leave.
#[tokio::test]
async fn whoever_stops_writing_has_left() {
    expect_taken_along(|mut client| async {
        client.shutdown().await.unwrap();
        client
    })
    .await;
}

/// Its answer was ready when it was asked for.
#[tokio::test]
async fn whoever_stops_writing_gets_what_is_ready() {
    for family in [Family::Tcp, Family::Unix] {
        let served = serve(Router::new().route("/", post(|body: Bytes| async { body })));
        let mut client = served.connect(family).await;
        let request = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\necho";
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        in_time(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with("\r\n\r\necho"), "{answer}");
    }
}

/// The close of a TCP socket with something unread resets it; the end of the answer has to come before. (A unix
/// socket has no such order.)
#[tokio::test]
async fn whoever_is_answered_before_its_body_is_read_sees_the_end() {
    let served = serve(Router::new().route("/", post(|| async { "no" })));
    let mut client = served.connect(Family::Tcp).await;
    let header =
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n";
    client.write_all(header.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; 30_000]).await.unwrap();
    served.nobody_is_left().await;
    let mut answer = String::new();
    in_time(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
}

#[tokio::test]
async fn half_a_body_is_an_error_of_the_body() {
    for family in [Family::Tcp, Family::Unix] {
        let (begun, failed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let upload = {
            let (begun, failed) = (Arc::clone(&begun), Arc::clone(&failed));
            move |body: Body| async move {
                let mut body = body.into_data_stream();
                assert!(body.next().await.unwrap().is_ok());
                begun.notify_one();
                if body.next().await.unwrap().is_err() {
                    failed.notify_one();
                }
            }
        };
        let served = serve(Router::new().route("/", post(upload)));
        let mut client = served.connect(family).await;
        let request = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nab";
        client.write_all(request).await.unwrap();
        in_time(begun.notified()).await;
        drop(client);
        in_time(failed.notified()).await;
        served.nobody_is_left().await;
    }
}

/// A handler may do something else first, and is told by the body then.
#[tokio::test]
async fn whoever_leaves_before_its_body_is_asked_for_is_noticed_then() {
    for family in [Family::Tcp, Family::Unix] {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let failed = Arc::new(Notify::new());
        let upload = {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            let failed = Arc::clone(&failed);
            move |body: Body| async move {
                begun.notify_one();
                go.notified().await;
                if body.into_data_stream().next().await.unwrap().is_err() {
                    failed.notify_one();
                }
            }
        };
        let served = serve(Router::new().route("/", post(upload)));
        let mut client = served.connect(family).await;
        let request = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n";
        client.write_all(request).await.unwrap();
        in_time(begun.notified()).await;
        drop(client);
        turns().await;
        go.notify_one();
        in_time(failed.notified()).await;
        served.nobody_is_left().await;
    }
}

/// The next request is no end, whether it came with the first one or while that waits.
#[tokio::test]
async fn requests_may_come_before_their_turn() {
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    for family in [Family::Tcp, Family::Unix] {
        for at_once in [true, false] {
            let (begun, permits) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
            let answer = {
                let (begun, permits) = (Arc::clone(&begun), Arc::clone(&permits));
                move || async move {
                    begun.notify_one();
                    permits.acquire().await.unwrap().forget();
                    "answer"
                }
            };
            let served = serve(Router::new().route("/", get(answer)));
            let mut client = served.connect(family).await;
            client.write_all(request).await.unwrap();
            if at_once {
                client.write_all(request).await.unwrap();
                in_time(begun.notified()).await;
            } else {
                in_time(begun.notified()).await;
                client.write_all(request).await.unwrap();
            }
            turns().await;
            permits.add_permits(1);
            in_time(begun.notified()).await;
            permits.add_permits(1);
            let mut answers = Vec::new();
            let both = async {
                while answers.windows(6).filter(|six| six == b"answer").count() < 2 {
                    assert!(client.read_buf(&mut answers).await.unwrap() > 0);
                }
            };
            in_time(both).await;
        }
    }
}
