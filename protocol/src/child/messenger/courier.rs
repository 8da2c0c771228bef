//! The task that carries frames between the office and the socket.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::directory::Class;
use super::message::Question;
use super::office::{Office, State};
use super::subscription::Room;
use super::{Message, Peer, Reply, RequestError};
use crate::id::Seat;
use crate::post::{
    Body, Frame, FrameError, Frames, Kind, MAX_PACKET, flag, read_sealed, receive_packet,
    send_packet,
};
use crate::sys;

/// How many packets are taken before other tasks get their turn.
const TURN: usize = 8;

/// How soon a packet is sent again that was refused: for want of memory, say, whose end nobody tells.
const RETRY: Duration = Duration::from_millis(10);

/// How long a process that leaves waits for its last messages to be taken by the master.
const LAST_POST: Duration = Duration::from_millis(200);

/// The courier, for whoever ends it.
#[derive(Debug)]
pub(in crate::child) struct Courier {
    office: Arc<Office>,
    task: JoinHandle<()>,
}

impl Courier {
    /// Starts to carry messages when `egg_ready` is cancelled, so to speak. To be called on the runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket: out of memory, or of watches.
    pub(in crate::child) fn start(
        office: Arc<Office>,
        socket: OwnedFd,
        egg_ready: CancellationToken,
    ) -> io::Result<Self> {
        let socket = sys::watched(socket, Interest::READABLE | Interest::WRITABLE)?;
        let task = tokio::spawn({
            let office = Arc::clone(&office);
            async move {
                let told = tokio::select! {
                    () = egg_ready.cancelled() => true,
                    () = office.finishing.cancelled() => false,
                };
                if told && let Err(error) = carry(&office, &socket).await {
                    tracing::error!("no more messages: {error}");
                }
                office.close();
            }
        });
        Ok(Self { office, task })
    }

    /// Sends what waits, and ends.
    pub(in crate::child) async fn finish(self) {
        self.office.finishing.cancel();
        // A master that takes nothing is not waited for.
        let _ = tokio::time::timeout(LAST_POST, self.task).await;
    }
}

/// Until this process leaves, or the master is gone.
async fn carry(office: &Arc<Office>, socket: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut packet = vec![0; MAX_PACKET];
    loop {
        let settled = match flush(office, socket) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            flushed => flushed?,
        };
        if settled && office.finishing.is_cancelled() {
            return Ok(());
        }
        tokio::select! {
            () = office.bell.notified() => {}
            readable = socket.readable() => {
                let mut readable = readable?;
                for _ in 0..TURN {
                    match readable.try_io(|socket| receive(office, socket.get_ref(), &mut packet)) {
                        Ok(Ok(true)) => {}
                        Ok(Ok(false)) => return Ok(()),
                        Ok(Err(error)) => return Err(error),
                        Err(_) => break,
                    }
                }
                drop(readable);
                tokio::task::yield_now().await;
            }
            // Before the next attempt: what is there after it is told anew.
            writable = socket.writable(), if !settled => writable?.clear_ready(),
            () = tokio::time::sleep(RETRY), if !settled => {}
            () = office.finishing.cancelled(), if settled => {}
        }
    }
}

/// Sends what waits. `false`: the socket is full.
fn flush(office: &Office, socket: &AsyncFd<OwnedFd>) -> io::Result<bool> {
    office.flush(
        |bytes, files| match send_packet(socket.get_ref(), bytes, files) {
            Ok(()) => Ok(true),
            // Full, or too many descriptors are under way (unix(7)).
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(error),
        },
    )
}

fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let full = [
        Errno::AGAIN,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::TOOMANYREFS,
    ];
    Errno::from_io_error(error).is_some_and(|errno| full.contains(&errno))
}

/// Takes one packet. `false`: the master is gone.
fn receive(office: &Arc<Office>, socket: &OwnedFd, packet: &mut [u8]) -> io::Result<bool> {
    let mut files = Vec::new();
    let Some(length) = receive_packet(socket, packet, &mut files)? else {
        return Ok(false);
    };
    let bytes = packet.get(..length).unwrap_or_default();
    take_in(office, bytes, files).map_err(io::Error::other)?;
    Ok(true)
}

/// Takes in the frames of a packet.
pub(super) fn take_in(
    office: &Arc<Office>,
    packet: &[u8],
    files: Vec<OwnedFd>,
) -> Result<(), FrameError> {
    let mut files = files.into_iter();
    let mut state = office.state();
    for frame in Frames::new(packet) {
        let frame = frame?;
        match frame.head.kind {
            Kind::Message | Kind::Request | Kind::Reply | Kind::Refusal => {}
            Kind::Joined => {
                state.joined(joined(&frame));
                continue;
            }
            Kind::Leaving => {
                state.leaving(frame.head.peer);
                continue;
            }
            Kind::Unanswered => {
                state.no_answer(frame.head.peer, frame.head.id);
                continue;
            }
            // They wake who waits.
            Kind::Room => {
                let is_answer = frame.head.flags & flag::ANSWER != 0;
                let class = if is_answer {
                    Class::Answer
                } else {
                    Class::Message
                };
                office.give_back(&mut state, class, frame.head.peer, frame.head.id);
                continue;
            }
            Kind::Left => {
                office.left(&mut state, frame.head.peer);
                continue;
            }
            Kind::Open => {
                office.open(&mut state, frame.head.id);
                continue;
            }
        }
        let payload = match frame.body {
            Body::Inline(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Body::Large(length) => {
                drop(state);
                let payload = large(files.next(), length);
                state = office.state();
                payload
            }
        };
        let Some(from) = state.directory.peer(frame.head.peer) else {
            continue;
        };
        if frame.head.kind.is_answer() {
            on_answer(office, &mut state, from, &frame, payload);
        } else {
            on_message(office, &state, from, &frame, payload);
        }
    }
    Ok(())
}

fn large(file: Option<OwnedFd>, length: u32) -> Result<Bytes, String> {
    let file = file.ok_or("this process has no descriptors left")?;
    let payload = read_sealed(file, length).map_err(|error| error.to_string())?;
    Ok(payload.into())
}

/// See [`Kind::Joined`].
fn joined(frame: &Frame<'_>) -> Peer {
    let [p0, p1, p2, p3, s0, s1, s2, s3] = frame.head.id.to_le_bytes();
    let slot = u32::from_le_bytes([s0, s1, s2, s3]).checked_sub(1);
    Peer {
        incarnation: frame.head.peer,
        seat: slot.map_or(Seat::Agent, Seat::Worker),
        pid: u32::from_le_bytes([p0, p1, p2, p3]),
    }
}

fn on_answer(
    office: &Office,
    state: &mut State,
    from: Peer,
    frame: &Frame<'_>,
    payload: Result<Bytes, String>,
) {
    let request = frame.head.id;
    state.answer_taken(from.incarnation, office.limits.cost(0, frame.body.len()));
    // Its number was given out once, and only who was asked may answer: a late or a made-up answer finds nothing.
    let is_asked = state.pending.get(&request).map(|p| p.asked) == Some(Some(from));
    if !is_asked {
        return;
    }
    let Some(pending) = state.pending.remove(&request) else {
        return;
    };
    let answer = match (frame.head.kind, payload) {
        (_, Err(reason)) => Err(RequestError::Lost(reason)),
        (Kind::Refusal, Ok(reason)) => Err(RequestError::Refused {
            from,
            reason: String::from_utf8_lossy(&reason).into_owned(),
        }),
        (_, Ok(payload)) => Ok(Reply { from, payload }),
    };
    // Whoever asked may have stopped waiting.
    let _ = pending.answer.send(answer);
}

fn on_message(
    office: &Arc<Office>,
    state: &State,
    from: Peer,
    frame: &Frame<'_>,
    payload: Result<Bytes, String>,
) {
    let cost = office.limits.cost(frame.topic.len(), frame.body.len());
    let room = Room {
        office: Arc::clone(office),
        from: from.incarnation,
        bytes: if frame.head.flags & flag::FREE == 0 {
            cost
        } else {
            0
        },
    };
    let question = (frame.head.kind == Kind::Request).then(|| {
        Arc::new(Question {
            office: Arc::clone(office),
            from,
            id: frame.head.id,
            answered: AtomicBool::new(false),
        })
    });
    let payload = match payload {
        Ok(payload) => payload,
        Err(reason) => return tracing::warn!("a message from {from} is lost: {reason}"),
    };
    let topic = std::str::from_utf8(frame.topic).unwrap_or_default();
    let message = Message {
        from,
        payload,
        question,
    };
    let subscribers = state.topics.get(topic).map_or(&[][..], Vec::as_slice);
    let Some((last, others)) = subscribers.split_last() else {
        // Dropped here, a question is answered so, and the room is given back.
        return;
    };
    let room = Arc::new(room);
    for subscriber in others {
        let message = Message {
            from,
            payload: message.payload.clone(),
            question: message.question.clone(),
        };
        // One that was dropped a moment ago.
        let _ = subscriber.deliveries.send((message, Arc::clone(&room)));
    }
    let _ = last.deliveries.send((message, room));
}
