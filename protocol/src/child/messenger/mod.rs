//! Messages between the processes of a cluster.
//!
//! ```text
//!  Messenger (any number of handles)             Subscription ── next()
//!      │ send, request                                ▲
//!      ▼                                              │
//!   office: who is there, windows, what waits ── courier ◄──► socket ◄──► master ◄──► other processes
//! ```
//!
//! What holds:
//!
//! - messages from one process to another arrive in the order they were sent, and at most once;
//! - nothing arrives before this process's egg-ready, and what is sent before is kept, in order, until then;
//! - what a send returns says what became of it; nothing waits, and nothing is dropped unsaid, as long as the
//!   receiver lives and listens;
//! - an answer reaches the request that it is for, or nobody;
//! - [`PeerEvent::Joined`] comes before the first message of a process, [`PeerEvent::Left`] after its last.
//!
//! Not here: messages to other hosts, and messages that outlive their receiver.
//!
//! | file | idea |
//! |---|---|
//! | `office` | what all handles share: two locks, and who is woken |
//! | `state` | whom a message goes to, and what waits to be sent |
//! | `directory` | who is there, and how much is under way to each; pure |
//! | `early` | what was sent before egg-ready |
//! | `requests`, `topics` | who in this process waits for an answer, and who listens to what |
//! | `watcher` | changes of who is there that wait for one who watches |
//! | `aside` | what comes of messages that are taken or dropped |
//! | `courier` | the task at the socket |
//! | `intake` | what the frames that it brings mean |

mod aside;
mod courier;
mod directory;
mod early;
mod error;
mod intake;
mod message;
mod office;
mod payload;
mod peer;
mod replies;
mod requests;
mod state;
mod subscription;
mod topics;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

pub(in crate::child) use courier::Courier;
pub use error::{ReplyError, RequestError, SendError, TopicError};
pub use message::{Message, Reply};
pub(in crate::child) use office::Office;
pub use peer::{Peer, PeerEvent, Reach, Target};
pub use replies::{PeerReply, Replies};
pub use subscription::Subscription;
pub use watcher::PeerEvents;

use crate::id::Slot;
use payload::Packed;
use replies::Asked;

/// Sends messages to other processes of the cluster, and receives theirs. Cheap to clone.
///
/// Sending never waits: a message is accepted into a queue of this process, or refused with the reason. Subscribe in
/// `start`: messages come from egg-ready on, and one that nobody listens to is dropped.
///
/// ```no_run
/// # use hatchery_protocol::child::messenger::{Messenger, Target};
/// # use std::time::Duration;
/// # async fn f(messenger: Messenger) -> Result<(), Box<dyn std::error::Error>> {
/// let mut greetings = messenger.subscribe("greeting")?;
/// tokio::spawn(async move {
///     while let Some(message) = greetings.next().await {
///         if let Ok(name) = message.json::<String>() {
///             let _ = message.reply(&format!("hello, {name}")).await;
///         }
///     }
/// });
///
/// messenger.broadcast("cache-cleared", &["users", "prices"])?;
/// let answer: String = messenger.request(Target::Agent, "greeting", "worker", Duration::from_secs(1)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Messenger {
    office: Arc<Office>,
    /// Whether topics of this framework's own are meant.
    own: bool,
}

/// Topics that begin so are this framework's own: state, followers and the like.
const RESERVED: &str = "hatchery/";

impl Messenger {
    pub(in crate::child) const fn new(office: Arc<Office>) -> Self {
        Self { office, own: false }
    }

    /// A handle for topics that begin with `hatchery/`, and for those alone. Not for applications.
    #[doc(hidden)]
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self {
            office: Arc::clone(&self.office),
            own: true,
        }
    }

    /// Sends a message as JSON.
    ///
    /// # Errors
    ///
    /// Nothing was sent, and why. To many, it is an error only if nobody gets it; see [`Reach`].
    pub fn send<T>(&self, target: Target, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send_bytes(target, topic, json(payload)?)
    }

    /// Sends a message of raw bytes, otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_bytes(
        &self,
        target: Target,
        topic: &str,
        payload: impl Into<Bytes>,
    ) -> Result<Reach, SendError> {
        self.check(topic)?;
        let payload = Packed::new(self.office.limits, payload.into())?;
        self.office.send(target, topic, &payload)
    }

    /// To every worker and the agent, this process included.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn broadcast<T>(&self, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send(Target::All, topic, payload)
    }

    /// To the agent; from the agent, to itself.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_to_agent<T>(&self, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send(Target::Agent, topic, payload)
    }

    /// To every worker; from a worker, to itself, too.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_to_workers<T>(&self, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send(Target::Workers, topic, payload)
    }

    /// To the worker in a slot.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_to<T>(&self, slot: Slot, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send(Target::Slot(slot), topic, payload)
    }

    /// To one worker, each with the same probability.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_random<T>(&self, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send(Target::RandomWorker, topic, payload)
    }

    /// To the sender's own side: from the agent to itself, from a worker to every worker.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_to_own_side<T>(&self, topic: &str, payload: &T) -> Result<Reach, SendError>
    where
        T: Serialize + ?Sized,
    {
        self.send(Target::OwnSide, topic, payload)
    }

    /// Asks one process, in JSON, and waits for its answer for at most `deadline`.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The death of who was asked shows at once.
    pub async fn request<T, R>(
        &self,
        target: Target,
        topic: &str,
        payload: &T,
        deadline: Duration,
    ) -> Result<R, RequestError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let payload = json(payload)?;
        let reply = self.request_bytes(target, topic, payload, deadline).await?;
        reply.json().map_err(RequestError::Decode)
    }

    /// Asks with raw bytes, otherwise as [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// As for [`request`](Self::request).
    pub async fn request_bytes(
        &self,
        target: Target,
        topic: &str,
        payload: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Reply, RequestError> {
        let until = Instant::now() + deadline;
        self.check(topic).map_err(SendError::from)?;
        let payload = Packed::new(self.office.limits, payload.into())?;
        self.ask(target, topic, &payload)?.wait(until).await
    }

    /// Asks everybody that a target means, in JSON. Before egg-ready it waits for that first.
    ///
    /// ```no_run
    /// # use hatchery_protocol::child::messenger::{Messenger, Target};
    /// # async fn f(messenger: Messenger) -> Result<(), Box<dyn std::error::Error>> {
    /// let second = std::time::Duration::from_secs(1);
    /// let mut replies = messenger.request_all(Target::Workers, "connections", &(), second).await?;
    /// while let Some(reply) = replies.next().await {
    ///     let from = reply.from;
    ///     println!("{from} has {:?}", reply.json::<u64>());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Nobody was asked, and why. What goes wrong with a single one is in its [`PeerReply`].
    pub async fn request_all<T>(
        &self,
        target: Target,
        topic: &str,
        payload: &T,
        deadline: Duration,
    ) -> Result<Replies, RequestError>
    where
        T: Serialize + ?Sized,
    {
        let payload = json(payload)?;
        self.request_all_bytes(target, topic, payload, deadline)
            .await
    }

    /// Asks everybody with raw bytes, otherwise as [`request_all`](Self::request_all).
    ///
    /// # Errors
    ///
    /// As for [`request_all`](Self::request_all).
    pub async fn request_all_bytes(
        &self,
        target: Target,
        topic: &str,
        payload: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Replies, RequestError> {
        let until = Instant::now() + deadline;
        self.check(topic).map_err(SendError::from)?;
        let payload = Packed::new(self.office.limits, payload.into())?;
        let opened = timeout_at(until, self.office.opened()).await;
        opened.map_err(|_| RequestError::Timeout)?;
        let asked = self.office.everybody(target)?;
        let ask = |peer: Peer| (peer, self.ask(peer.into(), topic, &payload));
        Ok(Replies::new(asked.into_iter().map(ask).collect(), until))
    }

    /// Keeps an application's topics and this framework's apart.
    fn check(&self, topic: &str) -> Result<(), TopicError> {
        if topic.starts_with(RESERVED) == self.own {
            Ok(())
        } else {
            Err(TopicError::Reserved)
        }
    }

    fn ask(&self, target: Target, topic: &str, payload: &Packed) -> Result<Asked, SendError> {
        let (request, answer) = self.office.ask(target, topic, payload)?;
        Ok(Asked {
            office: Arc::clone(&self.office),
            request,
            answer,
        })
    }

    /// Messages of that topic, from now on. Several subscribers of one topic each get every message; the first
    /// one to answer a request answers it.
    ///
    /// # Errors
    ///
    /// The topic cannot be one.
    pub fn subscribe(&self, topic: &str) -> Result<Subscription, TopicError> {
        self.check(topic)?;
        self.office.subscribe(topic)
    }

    /// Waits until a message to everybody that the target means would be accepted. For a sender who may be
    /// faster than receivers; with a time limit, where one of several may stand still.
    ///
    /// # Errors
    ///
    /// There is nobody to wait for.
    pub async fn room(&self, target: Target) -> Result<(), SendError> {
        self.office.room(target).await
    }

    /// Who can be talked to now, this process included. Nobody before egg-ready.
    pub fn peers(&self) -> Vec<Peer> {
        let state = self.office.state();
        state.directory.peers().map(|(peer, _)| peer).collect()
    }

    /// Changes of who can be talked to, from who is there now on.
    pub fn peer_events(&self) -> PeerEvents {
        self.office.peer_events()
    }

    /// This process, as others see it.
    pub fn me(&self) -> Peer {
        self.office.me
    }
}

fn json<T: Serialize + ?Sized>(payload: &T) -> Result<Vec<u8>, SendError> {
    serde_json::to_vec(payload).map_err(SendError::Encode)
}

#[cfg(test)]
mod tests;
