//! What requests can do to the worker that answers them.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use futures_util::{Stream, stream};
use hatchery::{CancellationToken, ClientInfo, Messenger, WorkerContext};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

use crate::mail::{self, Mail};
use crate::{fault, hosts, state, trace};

/// Between two events of `/stream/{n}`.
const STREAM_INTERVAL: Duration = Duration::from_millis(100);

/// What `/grow/{mib}` keeps.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

pub(crate) fn router(context: WorkerContext, mail: Mail) -> Router {
    Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/ready", get(ready))
        .route("/whoami", get(whoami))
        .route("/client", get(client))
        .route("/sleep/{ms}", get(sleep))
        .route("/spin/{ms}", get(spin))
        .route("/block/{ms}", get(block))
        .route("/echo", post(echo).layer(DefaultBodyLimit::disable()))
        .route("/book/{entry}", post(book))
        .route("/mail", post(send).layer(Extension(mail)))
        .route("/say/{words}", get(say))
        .route("/abort", any(abort))
        .route("/panic", any(panic))
        .route("/segv", any(segv))
        .route("/exit/{code}", any(exit))
        .route("/grow/{mib}", any(grow))
        .route("/child", any(child))
        .route("/run", any(run))
        .route("/stream/{n}", get(events))
        .route("/ws", any(websocket))
        .route("/ws/deaf", any(deaf_websocket))
        .merge(state::router())
        .merge(hosts::router())
        .with_state(context)
}

async fn whoami(State(worker): State<WorkerContext>) -> Json<Value> {
    Json(json!({
        "role": "worker",
        "slot": worker.slot(),
        "pid": worker.pid(),
        "generation": worker.generation(),
        "incarnation": worker.incarnation(),
    }))
}

/// For load balancers.
async fn ready(State(worker): State<WorkerContext>) -> (StatusCode, &'static str) {
    if worker.stopping().is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        (StatusCode::OK, "ready")
    }
}

/// Who asks, as far as the connection tells.
async fn client(ConnectInfo(client): ConnectInfo<ClientInfo>) -> Json<Value> {
    let tls = client.tls().map(|tls| {
        json!({
            "server_name": tls.server_name(),
            "alpn": tls.alpn(),
            "version": tls.version(),
            "resumed": tls.is_resumed(),
        })
    });
    Json(json!({
        "address": client.address(),
        "local_address": client.local_address(),
        "proxy": client.proxy(),
        "listener": client.listener(),
        "tls": tls,
    }))
}

/// Waits, and leaves the thread to others meanwhile.
async fn sleep(Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("slept {ms} ms")
}

/// Keeps the thread, and with it every other request of a worker that has one thread.
async fn spin(Path(ms): Path<u64>) -> String {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(ms) {
        std::hint::spin_loop();
    }
    format!("spun {ms} ms")
}

/// Keeps the thread as well, without using the CPU.
async fn block(Path(ms): Path<u64>) -> String {
    std::thread::sleep(Duration::from_millis(ms));
    format!("blocked {ms} ms")
}

/// Streams the body back: it may be larger than the worker's memory. The header says who did it.
async fn echo(body: Body) -> impl IntoResponse {
    ([("x-worker", std::process::id().to_string())], body)
}

/// Puts a line into the file that `PLAYGROUND_BOOK` names, for whoever wants to know what was done how often.
async fn book(Path(entry): Path<String>) -> Result<String, (StatusCode, String)> {
    match trace::book(&entry) {
        Ok(()) => Ok(entry),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Follows a command about messages.
async fn send(
    State(messenger): State<Messenger>,
    Extension(mail): Extension<Mail>,
    Json(command): Json<mail::Command>,
) -> Json<Value> {
    Json(mail::follow(command, &mail, &messenger).await)
}

/// Writes a line on standard output and one into the log.
async fn say(Path(words): Path<String>) -> String {
    // A line that cannot be written is not this request's business.
    let _ = writeln!(io::stdout(), "said {words}");
    tracing::info!("logged {words}");
    words
}

async fn abort() {
    std::process::abort()
}

async fn panic() {
    fault::panic()
}

async fn segv() {
    // The first is spent on Rust's own handler, which looks for stack overflows: finding none, it restores
    // the default and returns.
    for _ in 0..2 {
        let _ = kill_process(getpid(), Signal::SEGV);
    }
}

async fn exit(Path(code): Path<u8>) {
    fault::exit(code)
}

/// Takes memory for good. Every page is written to, so all of it counts.
async fn grow(Path(mib): Path<usize>) -> String {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(vec![1; mib << 20]);
    let bytes: usize = kept.iter().map(Vec::len).sum();
    format!("keeping {} MiB", bytes >> 20)
}

/// Starts a process that does not leave by itself, and answers its pid.
async fn child() -> Result<String, (StatusCode, String)> {
    match tokio::process::Command::new("sleep").arg("1000").spawn() {
        Ok(child) => Ok(child.id().unwrap_or_default().to_string()),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Runs a program to its end, and answers how it ended.
async fn run() -> Result<String, (StatusCode, String)> {
    match tokio::process::Command::new("true").status().await {
        Ok(status) => Ok(status.to_string()),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Server-sent events. They do not watch the shutdown token, so that a long stream shows how a drain ends
/// that nobody helps.
async fn events(Path(n): Path<u64>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(0, move |sent| async move {
        if sent == n {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(STREAM_INTERVAL).await;
        }
        let event = Event::default().data(sent.to_string());
        Some((Ok(event), sent + 1))
    }))
}

async fn websocket(State(worker): State<WorkerContext>, upgrade: WebSocketUpgrade) -> Response {
    let shutdown = worker.shutdown().clone();
    upgrade
        .on_upgrade(move |socket| talk(socket, shutdown))
        .into_response()
}

/// The same, but it does not hear that the worker leaves.
async fn deaf_websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .on_upgrade(|socket| talk(socket, CancellationToken::new()))
        .into_response()
}

/// Sends every message back, until the client or the worker leaves.
async fn talk(mut socket: WebSocket, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                // The library answers these itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
                Some(Err(_)) | None => return,
            },
            () = shutdown.cancelled() => {
                let goodbye = CloseFrame {
                    code: close_code::AWAY,
                    reason: "the worker is leaving".into(),
                };
                // A client that is gone already needs no goodbye.
                let _ = socket.send(Message::Close(Some(goodbye))).await;
                return;
            }
        }
    }
}
