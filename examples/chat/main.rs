//! Rooms over WebSocket. Whoever is in a room hears everybody in it, whichever workers they are connected to.
//!
//! ```text
//! cargo run --example chat -- --workers 4
//! ```
//!
//! Open <http://127.0.0.1:7001/> in two windows.
//!
//! What a client says goes to every worker by the messenger; each passes it on to its own clients in that room. So it does not
//! matter which worker a client comes to, and any strategy will do: `ip-hash` is for protocols that spread one session over several
//! connections, which a WebSocket does not.
//!
//! With the
//! feature `fleet`, and `--fleet redis://host:6379`, it goes to the workers of all other hosts, too:
//!
//! ```text
//! cargo run --example chat --features fleet -- --fleet redis://127.0.0.1:6379
//! ```

mod rooms;

use std::process::ExitCode;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::{Html, Response};
use axum::routing::{any, get};
use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};
use tokio::sync::broadcast::error::RecvError;

use rooms::Rooms;

struct ChatWorker;

#[derive(Clone)]
struct Chat {
    context: WorkerContext,
    rooms: Rooms,
}

#[async_trait]
impl Worker for ChatWorker {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let chat = Chat {
            rooms: Rooms::open(context)?,
            context: context.clone(),
        };
        Ok(Router::new()
            .route("/", get(|| async { Html(include_str!("page.html")) }))
            .route("/rooms/{room}", any(enter))
            .with_state(chat))
    }
}

async fn enter(
    State(chat): State<Chat>,
    Path(room): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(move |socket| talk(socket, chat, room))
}

/// Until the client leaves, or the worker does.
async fn talk(mut socket: WebSocket, chat: Chat, room: String) {
    let mut heard = chat.rooms.enter(&room);
    let slot = chat.context.slot();
    let welcome = format!("* you are in {room}, by worker {slot}");
    let mut answer = Some(Message::from(welcome));
    loop {
        if let Some(answer) = answer.take()
            && socket.send(answer).await.is_err()
        {
            return;
        }
        tokio::select! {
            said = socket.recv() => match said {
                Some(Ok(Message::Text(text))) => {
                    if let Err(error) = chat.rooms.say(&room, &text) {
                        answer = Some(format!("* not said: {error}").into());
                    }
                }
                // The library answers pings itself.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            text = heard.next() => answer = Some(match text {
                Ok(text) => Message::from(text.as_ref()),
                // A client that reads too slowly holds nobody up.
                Err(RecvError::Lagged(count)) => format!("* you missed {count}").into(),
                Err(RecvError::Closed) => return,
            }),
            () = chat.context.shutdown().cancelled() => {
                let goodbye = CloseFrame {
                    code: close_code::AWAY,
                    reason: "come back".into(),
                };
                // A client that is gone already needs no goodbye.
                let _ = socket.send(Message::Close(Some(goodbye))).await;
                return;
            }
        }
    }
}

fn main() -> ExitCode {
    App::new("chat").worker(ChatWorker).run()
}
