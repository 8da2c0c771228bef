//! The followers' side of clients that exist once, in the agent.
//!
//! ```text
//!  worker:  Followed ── "another value than the one I have?" ──► agent: Leader ── the one connection ──► a service
//!           Follower ── publish, invoke ───────────────────────►
//! ```
//!
//! A follower asks, and the agent answers when there is a newer value: so nobody keeps books of who follows what, a
//! follower that dies owes nothing, and one whose agent dies asks the next one.
//!
//! What holds:
//!
//! - whoever begins to follow gets the last value at once, if there is one;
//! - the last value stays while there is no agent, and the next agent's replaces it;
//! - values in between may be left out, the last one never is;
//! - `publish` and `invoke` reach the leader once or not at all, and not after their deadline.
//!
//! Not here: what a leader does. That is the agent crate's.

mod error;
mod followed;
pub mod wire;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;

pub use error::{FollowError, MAX_KEYS, Refusal};
pub use followed::Followed;

use self::wire::{Answer, Request, Said, TOPIC, Wish};
use super::Messenger;
use super::messenger::{RequestError, Target};
use crate::clock::{millis, monotonic};

/// How long a call may take, unless [`Follower::within`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(5);

/// A client that the agent holds, as any process of the cluster uses it. Cheap to clone.
///
/// ```no_run
/// # use hatchery_protocol::child::Context;
/// # use hatchery_protocol::child::follower::FollowError;
/// # async fn f(context: &Context) -> Result<(), FollowError> {
/// let settings = context.follower("settings");
///
/// // Now, and whenever it changes.
/// let mut banner = settings.subscribe::<String>("banner");
/// tokio::spawn(async move {
///     while let Ok(banner) = banner.next().await {
///         println!("{banner}");
///     }
/// });
///
/// settings.publish("banner", "closed on Sunday").await?;
/// let keys: Vec<String> = settings.invoke("keys", &()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Follower {
    messenger: Messenger,
    leader: String,
    deadline: Duration,
}

impl Follower {
    pub(in crate::child) fn new(messenger: &Messenger, leader: &str) -> Self {
        Self {
            messenger: messenger.reserved(),
            leader: leader.to_owned(),
            deadline: DEADLINE,
        }
    }

    /// The same client, by calls that may take so long instead of five seconds.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// Follows a key. To be called on the runtime; `start` is early enough, values come from egg-ready on.
    pub fn subscribe<T: DeserializeOwned>(&self, key: &str) -> Followed<T> {
        Followed::begin(self.clone(), key)
    }

    /// Gives a key a value, wherever the leader's come from.
    ///
    /// # Errors
    ///
    /// The leader's own, or why it did not hear of it, or that nobody knows.
    pub async fn publish<T>(&self, key: &str, value: &T) -> Result<(), FollowError>
    where
        T: Serialize + ?Sized,
    {
        let publish = Wish::Publish {
            key: key.to_owned(),
            value: to_raw_value(value)?,
        };
        match self.ask(publish, self.deadline, self.deadline).await? {
            Said::Published => Ok(()),
            Said::Value(..) | Said::Unchanged | Said::Returned(_) => Err(unexpected()),
        }
    }

    /// Calls a method of the leader's.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), and if what it returns is of another type.
    pub async fn invoke<T, R>(&self, method: &str, argument: &T) -> Result<R, FollowError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let invoke = Wish::Invoke {
            method: method.to_owned(),
            argument: to_raw_value(argument)?,
        };
        match self.ask(invoke, self.deadline, self.deadline).await? {
            Said::Returned(value) => Ok(serde_json::from_str(value.get())?),
            Said::Value(..) | Said::Unchanged | Said::Published => Err(unexpected()),
        }
    }

    /// The agent has `work` for it, and the answer may take until `deadline`.
    async fn ask(
        &self,
        wish: Wish,
        work: Duration,
        deadline: Duration,
    ) -> Result<Said, FollowError> {
        let request = Request {
            leader: self.leader.clone(),
            until_ms: millis(monotonic().saturating_add(work)),
            wish,
        };
        let asked = self
            .messenger
            .request(Target::Agent, TOPIC, &request, deadline);
        let answer: Answer = asked.await?;
        Ok(answer?)
    }
}

/// Only another build of this crate would answer so.
fn unexpected() -> FollowError {
    RequestError::Lost("it answers another question".into()).into()
}

#[cfg(test)]
mod tests;
