//! What a process says to its agent about the topics that it listens to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::wire::{self, WISHES, Wish};
use crate::child::Messenger;
use crate::child::messenger::{SendError, Target};

/// How many topics go into one message.
const AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Voice {
    pub(super) messenger: Messenger,
    /// Counts the agents that this process has turned to.
    pub(super) epoch: AtomicU64,
    /// Rung when something was not said for want of room.
    pub(super) unsaid: Notify,
}

impl Voice {
    pub(super) fn new(messenger: Messenger) -> Self {
        Self {
            messenger,
            epoch: AtomicU64::new(0),
            unsaid: Notify::new(),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Somebody listens to a topic from a moment on, or nobody does any more.
    pub(super) fn say(&self, topic: &str, since: Option<Duration>) {
        let topic = topic.to_owned();
        let wish = match since {
            Some(since) => self.listen(vec![(topic, wire::nanos(since))]),
            None => Wish::Forget { topic },
        };
        self.send(Target::Agent, &wish);
    }

    /// All topics that somebody listens to, from these moments on.
    pub(super) fn say_all(&self, topics: Vec<(String, Duration)>) {
        let topics = topics
            .into_iter()
            .map(|(topic, since)| (topic, wire::nanos(since)));
        let topics: Vec<(String, u64)> = topics.collect();
        for some in topics.chunks(AT_ONCE) {
            self.send(Target::Agent, &self.listen(some.to_vec()));
        }
    }

    fn listen(&self, topics: Vec<(String, u64)>) -> Wish {
        Wish::Listen {
            epoch: self.epoch(),
            topics,
        }
    }

    pub(super) fn send(&self, to: Target, wish: &Wish) {
        let Ok(bytes) = wire::pack(wish, b"") else {
            return;
        };
        match self.messenger.send_bytes(to, WISHES, bytes) {
            // The next agent is told all of it, and a lost master ends this process.
            Ok(_)
            | Err(SendError::AgentUnavailable | SendError::NoSuchPeer(_) | SendError::Closed) => {}
            Err(error) => {
                tracing::debug!("the agent does not hear what is listened to yet: {error}");
                self.unsaid.notify_one();
            }
        }
    }
}
