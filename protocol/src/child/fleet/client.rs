//! What an author holds in a worker: the fleet, by way of the agent.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answers::{Answer, Answers, Heard};
use super::ear::Ear;
use super::hub::{Hub, Subscription};
use super::message::{check_name, check_payload, encode};
use super::voice::Voice;
use super::wire::{self, Done, NEWS, Pull, Pulled, Said, WISHES, Wish};
use super::{FleetError, FleetMember, LARGEST_PAYLOAD};
use crate::child::messenger::{Messenger, RequestError, SendError, Target, TopicError};

/// How long the agent may take: a bit longer than Redis may.
const DEADLINE: Duration = Duration::from_secs(5);
/// How much later than the end of a question the agent may say so.
const SLACK: Duration = Duration::from_secs(1);
/// How many answers wait in this process; the others wait in the agent.
const WAITING: usize = 16;

/// The hosts that run the same application, as any process reaches them through its agent. Cheap to clone.
///
/// Without the feature `fleet`, or without the setting, there is none, and every call says so with
/// [`FleetError::NotConfigured`]: an application runs on one host as it does on many. Use it from egg-ready on.
///
/// ```no_run
/// # use hatchery_protocol::child::Context;
/// # use hatchery_protocol::child::fleet::FleetError;
/// # use std::time::Duration;
/// # async fn f(context: &Context) -> Result<(), FleetError> {
/// let fleet = context.fleet();
/// let mut news = fleet.subscribe("prices-changed")?;
/// tokio::spawn(async move {
///     loop {
///         let articles: Vec<String> = news.next().await.decode().unwrap_or_default();
///         println!("{articles:?}");
///     }
/// });
///
/// fleet.broadcast("prices-changed", &["tea"]).await?;
/// let mut answers = fleet.request_all("load", &(), Duration::from_secs(1)).await?;
/// while let Some(answer) = answers.next().await {
///     println!("{}: {:?}", answer.from, answer.decode::<f64>());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct FleetClient(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    voice: Arc<Voice>,
    hub: Arc<Hub>,
    /// Set when somebody has begun to listen.
    ear: OnceLock<Result<(), TopicError>>,
    /// The largest payload that the way to the agent takes.
    largest: usize,
}

impl FleetClient {
    pub(in crate::child) fn new(messenger: &Messenger, max_message: u32) -> Self {
        let voice = Arc::new(Voice::new(messenger.reserved()));
        let telling = Arc::clone(&voice);
        let hub = Hub::telling(move |topic, since| telling.say(topic, since));
        let largest = usize::try_from(max_message).unwrap_or(LARGEST_PAYLOAD);
        Self(Some(Arc::new(Inner {
            voice,
            hub: Arc::new(hub),
            ear: OnceLock::new(),
            largest: largest.saturating_sub(wire::HEAD).min(LARGEST_PAYLOAD),
        })))
    }

    /// Whether there is a fleet, whether in reach or not.
    pub fn is_configured(&self) -> bool {
        self.0.is_some()
    }

    /// Sends to everybody who listens to the topic, agents and workers, on all hosts and on this one. Returns how many
    /// members the message went out to, whether somebody listens there or not.
    ///
    /// # Errors
    ///
    /// What keeps it from being sent, see [`FleetError`]. With [`FleetError::Unanswered`] it may have been.
    pub async fn broadcast<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        payload: &T,
    ) -> Result<u64, FleetError> {
        self.broadcast_bytes(topic, &encode(payload)?).await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_bytes(&self, topic: &str, payload: &[u8]) -> Result<u64, FleetError> {
        self.inner()?.send(topic, payload, false).await
    }

    /// Sends to everybody who listens on other hosts, and to nobody on this one: for what is told here by the
    /// messenger already. Returns how many members the message went out to.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_elsewhere<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        payload: &T,
    ) -> Result<u64, FleetError> {
        self.broadcast_elsewhere_bytes(topic, &encode(payload)?)
            .await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_elsewhere_bytes(
        &self,
        topic: &str,
        payload: &[u8],
    ) -> Result<u64, FleetError> {
        self.inner()?.send(topic, payload, true).await
    }

    /// Listens to a topic, from now on, whatever becomes of the agent. To be called on the runtime; `start` is early
    /// enough.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotConfigured`], [`FleetError::Name`], [`FleetError::TooMany`]. A missing connection is none:
    /// messages come when there is one.
    pub fn subscribe(&self, topic: &str) -> Result<Subscription, FleetError> {
        let inner = self.inner()?;
        check_name(topic)?;
        inner.begin_to_listen()?;
        inner.hub.subscribe(topic)
    }

    /// Asks everybody who listens to the topic, on all hosts and on this one: one answer of each host.
    ///
    /// # Errors
    ///
    /// What keeps the question from being sent, see [`FleetError`].
    pub async fn request_all<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        question: &T,
        deadline: Duration,
    ) -> Result<Answers, FleetError> {
        self.request_all_bytes(topic, &encode(question)?, deadline)
            .await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`request_all`](Self::request_all).
    pub async fn request_all_bytes(
        &self,
        topic: &str,
        question: &[u8],
        deadline: Duration,
    ) -> Result<Answers, FleetError> {
        let inner = self.inner()?;
        check_name(topic)?;
        check_payload(question, inner.largest)?;
        let until = Instant::now() + deadline;
        let ask = Wish::Ask {
            topic: topic.to_owned(),
            within: deadline,
        };
        let asked = inner.wish(&ask, question, deadline.min(DEADLINE)).await?;
        let (from, Done::Asked { question, members }) = asked else {
            return Err(unexpected());
        };
        let (heard, queue) = mpsc::channel(WAITING);
        let messenger = inner.voice.messenger.clone();
        tokio::spawn(fetch(messenger, from, question, until, heard));
        Ok(Answers::new(queue, until, || ()).of(members))
    }

    /// Who is there, in no order. Each call asks Redis.
    ///
    /// # Errors
    ///
    /// [`FleetError::Disconnected`] and its like: members are not remembered, since they could be gone.
    pub async fn members(&self) -> Result<Vec<FleetMember>, FleetError> {
        match self.inner()?.wish(&Wish::Members, b"", DEADLINE).await? {
            (_, Done::Members(members)) => Ok(members),
            _ => Err(unexpected()),
        }
    }

    fn inner(&self) -> Result<&Arc<Inner>, FleetError> {
        self.0.as_ref().ok_or(FleetError::NotConfigured)
    }
}

impl Inner {
    async fn send(&self, topic: &str, payload: &[u8], elsewhere: bool) -> Result<u64, FleetError> {
        check_name(topic)?;
        check_payload(payload, self.largest)?;
        let broadcast = Wish::Broadcast {
            topic: topic.to_owned(),
            elsewhere,
        };
        match self.wish(&broadcast, payload, DEADLINE).await? {
            (_, Done::Sent(members)) => Ok(members),
            _ => Err(unexpected()),
        }
    }

    /// Asks the agent, and says which process that was.
    async fn wish(
        &self,
        wish: &Wish,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<(Target, Done), FleetError> {
        let bytes = wire::pack(wish, payload)?;
        let asked = self
            .voice
            .messenger
            .request_bytes(Target::Agent, WISHES, bytes, deadline);
        let reply = asked.await?;
        let said: Said = reply.json().map_err(RequestError::Decode)?;
        Ok((reply.from.into(), said?))
    }

    fn begin_to_listen(&self) -> Result<(), FleetError> {
        let begun = *self.ear.get_or_init(|| {
            let messenger = &self.voice.messenger;
            let news = messenger.subscribe(NEWS)?;
            let ear = Ear::new(Arc::clone(&self.hub), Arc::clone(&self.voice));
            tokio::spawn(ear.listen(news, messenger.peer_events()));
            Ok(())
        });
        begun.map_err(|error| SendError::Topic(error).into())
    }
}

/// Fetches the answers to a question from the agent that has asked it, one after the other.
async fn fetch(
    messenger: Messenger,
    agent: Target,
    question: u64,
    until: Instant,
    heard: mpsc::Sender<Heard>,
) {
    let topic = wire::answers(question);
    let pull = |pull| wire::pack(&pull, b"").unwrap_or_default();
    loop {
        let left = until.saturating_duration_since(Instant::now()) + SLACK;
        let asked = messenger.request_bytes(agent, &topic, pull(Pull::Next), left);
        let reply = tokio::select! {
            reply = asked => reply,
            () = heard.closed() => {
                // It ends with its deadline in any case.
                let _ = messenger.send_bytes(agent, &topic, pull(Pull::Enough));
                return;
            }
        };
        // An agent that dies takes the other answers along.
        let Ok(reply) = reply else { return };
        let answered = match wire::unpack(&reply.payload) {
            Some((Pulled::Answer(from), payload)) => Some((from, payload)),
            Some((Pulled::Nobody, _)) => None,
            Some((Pulled::End, _)) | None => return,
        };
        let answer = answered.map(|(from, payload)| Answer::new(from, payload.into()));
        // Nobody waits any more: told with the next round.
        let _ = heard.send(Heard { answer, room: None }).await;
    }
}

/// Only another build of this crate would answer so.
fn unexpected() -> FleetError {
    FleetError::Unanswered
}
