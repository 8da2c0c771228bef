//! One application, three protocols: HTTP, lines over TCP and datagrams over UDP, all from the same workers.
//!
//! Addresses are told apart by their names:
//!
//! ```text
//! cargo run --example line-echo -- --listen 127.0.0.1:7001 \
//!     --listen '127.0.0.1:7007?name=lines' --listen 'udp:127.0.0.1:7007?name=datagrams'
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hatchery::{App, BoxError, CancellationToken, RawStream, Worker, WorkerContext, async_trait};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, split};
use tokio::net::UdpSocket;

struct Echo;

#[async_trait]
impl Worker for Echo {
    /// Lines are taken here: what nobody has taken when everybody is ready serves HTTP.
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        if let Some(mut incoming) = context.take_listener("lines") {
            let shutdown = context.shutdown().clone();
            tokio::spawn(async move {
                while let Some(stream) = incoming.next().await {
                    tokio::spawn(lines(stream, shutdown.clone()));
                }
            });
        }
        Ok(Router::new().route("/", get(|| async { "this one speaks HTTP\n" })))
    }

    /// Datagrams are read from here on, when everybody is ready.
    async fn egg_ready(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        for socket in context.udp_sockets("datagrams") {
            let shutdown = context.shutdown().clone();
            tokio::spawn(shutdown.run_until_cancelled_owned(datagrams(socket)));
        }
        Ok(())
    }
}

/// Until the client leaves, or the worker.
async fn lines(stream: RawStream, shutdown: CancellationToken) {
    let (reader, mut writer) = split(stream);
    let mut lines = BufReader::new(reader).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                if writer.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
            () = shutdown.cancelled() => {
                // Whoever is gone already needs no goodbye.
                let _ = writer.write_all(b"goodbye, connect again\n").await;
                return;
            }
        }
    }
}

/// Every worker has the same socket; each datagram goes to one of them.
async fn datagrams(socket: Arc<UdpSocket>) {
    let mut datagram = [0; 2048];
    loop {
        let answered = async {
            let (length, from) = socket.recv_from(&mut datagram).await?;
            let text = datagram.get(..length).unwrap_or_default();
            socket.send_to(text, from).await
        };
        if let Err(error) = answered.await {
            // One client that cannot be reached is no reason to leave the others.
            tracing::debug!("a datagram was not answered: {error}");
        }
    }
}

fn main() -> ExitCode {
    App::new("line-echo").worker(Echo).run()
}
