//! Connections that go to the worker that a rule of the application's chooses, once it knows what they want.
//!
//! A client of the address `rooms` says in its first line which room it enters. All visitors of a room are in one process, so what
//! they share is a variable of that process:
//!
//! ```text
//! cargo run --example pass-on -- --workers 4 --listen 127.0.0.1:7001 --listen '127.0.0.1:7007?name=rooms'
//! printf 'tea\n' | nc -q1 127.0.0.1 7007
//! ```
//!
//! `docs/articles/passing-sockets.md` explains it.

mod desk;
mod rooms;

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use desk::Desk;
use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};
use rooms::Rooms;

/// What a worker has between its hooks.
#[derive(Default)]
struct PassOn {
    rooms: Option<Arc<Rooms>>,
}

#[async_trait]
impl Worker for PassOn {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let Some(mut incoming) = context.take_listener("rooms") else {
            return Err(
                "no address is named `rooms`: add --listen '127.0.0.1:7007?name=rooms'".into(),
            );
        };
        let desk = Desk::open(context)?;
        let rooms = Arc::new(Rooms::new(context.clone()));
        self.rooms = Some(Arc::clone(&rooms));
        let arriving = Arc::clone(&rooms);
        tokio::spawn(async move {
            while let Some(stream) = incoming.next().await {
                tokio::spawn(Arc::clone(&arriving).receive(stream));
            }
        });
        tokio::spawn(async move {
            while let Some((said, stream)) = desk.next().await {
                Arc::clone(&rooms).welcome(said, stream);
            }
        });
        Ok(Router::new().route(
            "/",
            get(|| async { "the rooms are at the other address\n" }),
        ))
    }

    /// Nobody but this application knows of connections that were passed on, so it has to wait for them itself.
    async fn before_close(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        desk::close(context)?;
        if let Some(rooms) = &self.rooms {
            rooms.empty().await;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new("pass-on").worker(PassOn::default()).run()
}
