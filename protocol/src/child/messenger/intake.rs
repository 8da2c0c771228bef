//! What the frames that the courier brings mean to this process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::directory::Class;
use super::message::Question;
use super::office::Office;
use super::state::State;
use super::subscription::Room;
use super::{Message, Peer, Reply, RequestError};
use crate::id::Seat;
use crate::post::{Body, Frame, FrameError, Frames, Head, Kind, flag, read_sealed};

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
                let unanswered = |asked| Err(RequestError::Unanswered(asked));
                let Head { peer, id, .. } = frame.head;
                state.requests.settle(id, peer, unanswered);
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
    let cost = office.limits.cost(0, frame.body.len());
    office.taken(from.incarnation, Class::Answer, cost);
    state.requests.settle(request, from.incarnation, |from| {
        match (frame.head.kind, payload) {
            (_, Err(reason)) => Err(RequestError::Lost(reason)),
            (Kind::Refusal, Ok(reason)) => Err(RequestError::Refused {
                from,
                reason: String::from_utf8_lossy(&reason).into_owned(),
            }),
            (_, Ok(payload)) => Ok(Reply { from, payload }),
        }
    });
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
    state.topics.deliver(topic, message, room);
}
