//! Workers that speak TLS, and tell each client what they know of it.
//!
//! ```text
//! openssl req -x509 -newkey ed25519 -nodes -days 30 -subj /CN=localhost \
//!   -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
//! cargo run --features tls --example https -- --listen '127.0.0.1:7443?cert=cert.pem&key=key.pem'
//! curl --cacert cert.pem https://localhost:7443/
//! ```

use std::process::ExitCode;

use axum::extract::{ConnectInfo, State};
use axum::routing::get;
use axum::{Json, Router};
use hatchery::{App, BoxError, ClientInfo, TlsInfo, Worker, WorkerContext, async_trait};
use serde_json::{Value, json};

struct Https;

#[async_trait]
impl Worker for Https {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let router = Router::new().route("/", get(whence));
        Ok(router.with_state(context.clone()))
    }

    fn connect_info(&self) -> bool {
        true
    }
}

async fn whence(
    State(worker): State<WorkerContext>,
    ConnectInfo(client): ConnectInfo<ClientInfo>,
) -> Json<Value> {
    let tls = client.tls();
    Json(json!({
        "slot": worker.slot(),
        "client": client.address(),
        "tls": tls.and_then(|tls| tls.version()),
        "alpn": tls.and_then(|tls| tls.alpn()),
        "resumed": tls.is_some_and(TlsInfo::is_resumed),
    }))
}

fn main() -> ExitCode {
    App::new("https").worker(Https).run()
}
