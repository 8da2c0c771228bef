//! The control socket: where an operator's command meets the master.
//!
//! Each client has a task of its own, one request, a bounded reply and a time limit, so none of them can
//! hold up the master or another client. Only the user that runs the master, and root, are answered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::control::{self, MAX_WORKERS, Reply, Request, Status};
use hatchery_protocol::fd;
use hatchery_protocol::wire::{Decoder, Frame, FrameError, Kind, encode};
use std::os::fd::AsFd as _;
use thiserror::Error;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::journal::Following;
use crate::reserve::Reserve;
use crate::shell::{Input, Outcome, Wish};
use crate::spawn::is_want_of_descriptors;
use crate::supervisor::Scale;

/// Clients served at once.
const CLIENTS: usize = 256;
/// Clients that are served although there are no descriptors.
const RESERVE: usize = 4;
/// The largest request, in bytes.
const REQUEST_LIMIT: usize = 64 * 1024;
/// How long a client may take to send its request, and to take each reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client did wrong. It is told, and its connection is closed.
#[derive(Debug, Error)]
enum ClientError {
    #[error("this request cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("this request cannot be read: a {0:?} frame does not belong on a control socket")]
    Kind(Kind),
    #[error("this request is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no request came within {} s", PATIENCE.as_secs())]
    Late,
    #[error("{0} workers are too many; a cluster has at most {MAX_WORKERS}")]
    TooMany(u32),
    #[error("events were not read fast enough, some are lost; ask again")]
    Slow,
    #[error("the master is about to be gone")]
    Gone,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves clients until the master ends. `alive` is cloned into each client's task, so that the master
/// can wait until the last of them has what it was promised.
pub(crate) async fn serve(
    listener: UnixListener,
    inputs: mpsc::Sender<Input>,
    alive: mpsc::Sender<()>,
) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut reserve = Reserve::of(RESERVE);
    loop {
        reserve.fill(&listener);
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_want_of_descriptors(&error) && reserve.release() => {
                // Filled again only when a client is served: the next one is whom it was kept for.
                match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(_) => continue,
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some instead of spinning.
                tracing::warn!("the control socket cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !is_ours(&stream) {
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("refused a control client: {CLIENTS} are connected already");
            continue;
        };
        let (inputs, alive) = (inputs.clone(), alive.clone());
        tokio::spawn(async move {
            answer(stream, &inputs).await;
            drop((place, alive));
        });
    }
}

/// The socket's mode keeps others out; this keeps out those for whom the mode does not count.
fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| {
        let ours = rustix::process::geteuid().as_raw();
        peer.uid() == ours || peer.uid() == 0
    })
}

async fn answer(mut stream: UnixStream, inputs: &mpsc::Sender<Input>) {
    let result = async {
        let frame = timeout(PATIENCE, read_request(&stream))
            .await
            .map_err(|_| ClientError::Late)??;
        // A client that left without a word, as a probe does.
        let Some(frame) = frame else {
            return Ok(());
        };
        if frame.kind != Kind::Control {
            return Err(ClientError::Kind(frame.kind));
        }
        match serde_json::from_slice(&frame.body)? {
            Request::Status => {
                let status = ask(inputs, Input::Status).await?;
                reply(&mut stream, &Reply::Status(Box::new(status))).await
            }
            Request::Metrics => {
                let text = ask(inputs, Input::Metrics).await?;
                reply(&mut stream, &Reply::Metrics { text }).await
            }
            Request::Events => {
                let events = ask(inputs, |to| Input::Follow { to, stop: false }).await?;
                follow(&mut stream, events).await
            }
            Request::Reload { agent } => {
                let wish = Wish::Reload { agent };
                carry_out(&mut stream, inputs, wish).await
            }
            Request::Scale { to } => {
                let to = match to {
                    control::Scale::Workers(count) if count > MAX_WORKERS => {
                        return Err(ClientError::TooMany(count));
                    }
                    control::Scale::Workers(count) => Scale::To(count),
                    control::Scale::OneMore => Scale::Up,
                    control::Scale::OneLess => Scale::Down,
                };
                carry_out(&mut stream, inputs, Wish::Scale(to)).await
            }
            Request::Stop => {
                let events = ask(inputs, |to| Input::Follow { to, stop: true }).await?;
                follow(&mut stream, events).await
            }
            Request::Schedule { name, command } => {
                let input = |to| Input::Schedule { name, command, to };
                let asked = tokio::select! {
                    asked = ask(inputs, input) => asked?,
                    // A run goes on without its operator.
                    () = left(&stream) => return Ok(()),
                };
                let (error, notes) = (asked.err(), Vec::new());
                reply(&mut stream, &Reply::Finished { error, notes }).await
            }
            Request::Upgrade => carry_out(&mut stream, inputs, Wish::Upgrade).await,
        }
    };
    if let Err(error) = result.await {
        tracing::debug!("a control client was turned away: {error}");
        let message = error.to_string();
        // It may be gone, or not read: its own loss.
        let _ = reply(&mut stream, &Reply::Error { message }).await;
    }
}

async fn read_request(stream: &UnixStream) -> Result<Option<Frame>, ClientError> {
    let mut decoder = Decoder::new(REQUEST_LIMIT);
    let mut chunk = vec![0; 4096];
    let mut fds = VecDeque::new();
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(Some(frame));
        }
        let count = stream
            .async_io(Interest::READABLE, || {
                let count = fd::receive(stream.as_fd(), &mut chunk, &mut fds)?;
                // Nobody is meant to send any; they are closed at once.
                fds.clear();
                Ok(count)
            })
            .await?;
        if count == 0 {
            decoder.finish()?;
            return Ok(None);
        }
        decoder.push(chunk.get(..count).unwrap_or_default());
    }
}

async fn ask<T>(
    inputs: &mpsc::Sender<Input>,
    input: impl FnOnce(oneshot::Sender<T>) -> Input,
) -> Result<T, ClientError> {
    let (to, answer) = oneshot::channel();
    inputs
        .send(input(to))
        .await
        .map_err(|_| ClientError::Gone)?;
    answer.await.map_err(|_| ClientError::Gone)
}

/// Has something done that takes a while, and tells how it goes. It goes on without its client, too.
async fn carry_out(
    stream: &mut UnixStream,
    inputs: &mpsc::Sender<Input>,
    wish: Wish,
) -> Result<(), ClientError> {
    let mut placed = ask(inputs, |to| Input::Order { wish, to }).await?;
    if placed.queued {
        let message = "another reload is under way; this one begins when that is finished".into();
        reply(stream, &Reply::Note { message }).await?;
    }
    let outcome = loop {
        tokio::select! {
            // What happened before the outcome is told before it.
            biased;
            event = placed.following.events.recv() => match event {
                Some(event) => reply(stream, &Reply::Event(event)).await?,
                None if placed.following.lost_track() => return Err(ClientError::Slow),
                None => break placed.outcome.await,
            },
            outcome = &mut placed.outcome => break outcome,
            () = left(stream) => return Ok(()),
        }
    };
    let Outcome { result, notes } = outcome.map_err(|_| ClientError::Gone)?;
    let error = result.err();
    reply(stream, &Reply::Finished { error, notes }).await
}

/// Passes events on until the master ends or the client leaves.
async fn follow(stream: &mut UnixStream, mut following: Following) -> Result<(), ClientError> {
    loop {
        tokio::select! {
            event = following.events.recv() => match event {
                Some(event) => reply(stream, &Reply::Event(event)).await?,
                None if following.lost_track() => return Err(ClientError::Slow),
                None => return Ok(()),
            },
            () = left(stream) => return Ok(()),
        }
    }
}

/// Waits until the client closes its end. What it writes meanwhile is thrown away.
async fn left(stream: &UnixStream) {
    let mut scrap = [0; 256];
    while stream.readable().await.is_ok() {
        // One that writes without end is always readable, and everybody else has a turn, too.
        consume_budget().await;
        match stream.try_read(&mut scrap) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn reply(stream: &mut UnixStream, reply: &Reply) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    encode(Kind::Control, 0, &serde_json::to_vec(reply)?, &mut bytes)?;
    timeout(PATIENCE, stream.write_all(&bytes))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(())
}

/// Where the answer to [`Input::Status`] goes.
pub(crate) type StatusTo = oneshot::Sender<Status>;
/// Where the answer to [`Input::Metrics`] goes.
pub(crate) type MetricsTo = oneshot::Sender<String>;
/// Where the answer to [`Input::Follow`] goes.
pub(crate) type EventsTo = oneshot::Sender<Following>;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as StdUnixStream;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn who_writes_without_end_takes_its_turn() {
        let (ours, mut theirs) = StdUnixStream::pair().unwrap();
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).unwrap();
        }
        while theirs.write(&[0; 4096]).is_ok() {}
        let ours = UnixStream::from_std(ours).unwrap();
        ours.readable().await.unwrap();
        {
            let mut leaving = pin!(left(&ours));
            let gone = poll_fn(|cx| Poll::Ready(leaving.as_mut().poll(cx).is_ready())).await;
            assert!(!gone);
        }
        assert!(ours.try_read(&mut [0; 1]).is_ok(), "all of it in one turn");
        drop(theirs);
        left(&ours).await;
    }
}
