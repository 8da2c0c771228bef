//! What can go wrong with a message, as values.

use thiserror::Error;

use super::{Peer, Target};
use crate::post::MAX_TOPIC;

/// A topic that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TopicError {
    /// It has no characters.
    #[error("a topic cannot be empty")]
    Empty,
    /// It is too long.
    #[error("a topic of {0} bytes is too long, {MAX_TOPIC} bytes are allowed")]
    TooLong(usize),
    /// It is one of this framework's own.
    #[error("topics that begin with `hatchery/` are reserved")]
    Reserved,
}

/// Why a message was not accepted. Nothing of it was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The topic cannot be one.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Encode(#[source] serde_json::Error),
    /// The payload is larger than the setting `max_message`.
    #[error("a payload of {size} bytes is too large, `max_message` allows {limit}")]
    TooLarge {
        /// How many bytes it has.
        size: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// There is no agent at the moment: it is being replaced, or has left.
    #[error("the agent is unavailable")]
    AgentUnavailable,
    /// Nobody ready fits the target at the moment: no such slot, no worker, or a process that is gone.
    #[error("no ready process is {0}")]
    NoSuchPeer(Target),
    /// What is under way to the addressee, or waits in this process, has reached the setting `message_queue`. See
    /// [`Messenger::room`](super::Messenger::room).
    #[error("the queue for {0} is full")]
    Full(Target),
    /// A request to many; see [`Messenger::request_all`](super::Messenger::request_all).
    #[error("{0} may be many: ask them with `request_all`")]
    Many(Target),
    /// A large payload could not be put into a memory file: no descriptors, or no memory.
    #[error("no memory file for a large payload: {0}")]
    Memory(#[source] std::io::Error),
    /// This process has lost its master, and with it everybody else.
    #[error("the master is gone")]
    Closed,
}

/// Why a request has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It was never sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The deadline has passed. Whether the request was handled is not known, and an answer that comes now is
    /// dropped.
    #[error("no answer came in time")]
    Timeout,
    /// Who was asked is gone. Whether the request was handled is not known.
    #[error("{0} left without an answer")]
    PeerGone(Peer),
    /// Who was asked does not listen to that topic, or let the request go without an answer.
    #[error("{0} did not answer: it has no handler for that topic, or the handler gave up")]
    Unanswered(Peer),
    /// The handler refused, and says why.
    #[error("{from} refused: {reason}")]
    Refused {
        /// Who was asked.
        from: Peer,
        /// What it said.
        reason: String,
    },
    /// The answer came, and is not what was expected.
    #[error("the answer cannot be read: {0}")]
    Decode(#[source] serde_json::Error),
    /// A large answer could not be read.
    #[error("the answer was lost: {0}")]
    Lost(String),
}

/// Why an answer was not accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The message wants no answer.
    #[error("this message wants no answer")]
    NotAsked,
    /// It has one: another subscriber was faster.
    #[error("there is an answer already")]
    Answered,
    /// Who asked is gone.
    #[error("who asked is gone")]
    Gone,
    /// The answer cannot be sent, whoever it is for.
    #[error(transparent)]
    Send(#[from] SendError),
}
