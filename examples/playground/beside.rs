//! What the playground serves beside HTTP, on listeners of certain names: a protocol of lines, and datagrams.
//!
//! | name | what it does |
//! |---|---|
//! | `raw` | sends every line back; `whoami` is answered with slot, pid and the client's address; says `bye` when the worker leaves |
//! | `raw-busy` | the same, for one client at a time |
//! | `raw-deaf` | the same, but does not hear that the worker leaves |
//! | `datagrams` (UDP) | sends every datagram back, with slot and pid before it |

use std::io;
use std::sync::Arc;

use hatchery::{CancellationToken, Incoming, RawStream, WorkerContext};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, split};
use tokio::net::UdpSocket;

/// The largest datagram there is.
const DATAGRAM: usize = 65_535;

/// Takes the listeners with these names, if there are such. To be called in `start`.
pub(crate) fn take(context: &WorkerContext) {
    if let Some(incoming) = context.take_listener("raw") {
        tokio::spawn(serve(incoming, context.clone(), false));
    }
    if let Some(incoming) = context.take_listener("raw-busy") {
        tokio::spawn(serve(incoming, context.clone(), true));
    }
    if let Some(incoming) = context.take_listener("raw-deaf") {
        tokio::spawn(serve_deafly(incoming, context.clone()));
    }
}

/// Answers datagrams. To be called in `egg_ready`.
pub(crate) fn answer_datagrams(context: &WorkerContext) {
    for socket in context.udp_sockets("datagrams") {
        tokio::spawn(datagrams(socket, context.clone()));
    }
}

async fn serve(mut incoming: Incoming, context: WorkerContext, one_at_a_time: bool) {
    while let Some(stream) = incoming.next().await {
        let talk = talk(stream, context.clone(), context.shutdown().clone());
        if one_at_a_time {
            talk.await;
        } else {
            tokio::spawn(talk);
        }
    }
}

async fn serve_deafly(mut incoming: Incoming, context: WorkerContext) {
    while let Some(stream) = incoming.next().await {
        tokio::spawn(talk(stream, context.clone(), CancellationToken::new()));
    }
}

/// Until the client or the worker leaves.
async fn talk(stream: RawStream, context: WorkerContext, shutdown: CancellationToken) {
    let (slot, pid) = (context.slot(), context.pid());
    let peer = stream.peer_addr().map(|peer| peer.to_string());
    let peer = peer.unwrap_or_else(|| "nowhere".to_owned());
    let (reader, mut writer) = split(stream);
    let mut lines = BufReader::new(reader).lines();
    loop {
        let answer = tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) if line == "whoami" => format!("{slot} {pid} {peer}\n"),
                Ok(Some(line)) => format!("{line}\n"),
                Ok(None) | Err(_) => return,
            },
            () = shutdown.cancelled() => {
                // A client that is gone already needs no goodbye.
                let _ = writer.write_all(b"bye\n").await;
                return;
            }
        };
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn datagrams(socket: Arc<UdpSocket>, context: WorkerContext) {
    let prefix = format!("{} {} ", context.slot(), context.pid());
    let answering = async {
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let (length, from) = socket.recv_from(&mut datagram).await?;
            let payload = datagram.get(..length).unwrap_or_default();
            let answer = [prefix.as_bytes(), payload].concat();
            // Whoever cannot be reached, others can.
            let _ = socket.send_to(&answer, from).await;
        }
    };
    let ended: Option<io::Result<()>> = context.shutdown().run_until_cancelled(answering).await;
    if let Some(Err(error)) = ended {
        tracing::error!("datagrams are not answered any more: {error}");
    }
}
