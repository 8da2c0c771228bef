//! The other processes of this host, which reach the fleet through this agent.
//!
//! Each says what it listens to, and gets what comes for that. They take up no connection, and one of them that reads
//! too slowly costs nobody else anything: what does not fit in its queue is dropped for it alone, and counted.
//!
//! When this agent takes over from another one, every process turns to it, and is told again what came in the last
//! moments. What it has heard already it knows by the sender's number: see `hatchery_protocol::child::fleet`.
//!
//! | file | idea |
//! |---|---|
//! | `book` | who listens to what; pure |
//! | `backlog` | what came last; pure |
//! | `serve` | the task that does what the others wish |

mod backlog;
mod book;
mod serve;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hatchery_protocol::child::Messenger;
use hatchery_protocol::child::fleet::wire::{self, NEWS, News};
use hatchery_protocol::child::fleet::{FleetError, MemberId};
use hatchery_protocol::child::messenger::{Reply, SendError, Target};
use tokio::sync::Semaphore;

use backlog::Backlog;
use book::{Book, Who};
pub(crate) use serve::serve;

/// How many questions other processes of this host may be at.
const QUESTIONS: usize = 1024;
/// How much of what came last a process is told again, in bytes: well below its queue.
const AGAIN: usize = 256 * 1024;
/// The longest that anybody waits for an answer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What has come from the fleet.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    /// When.
    pub(super) at: Duration,
    pub(super) from: MemberId,
    /// The sender's number for it.
    pub(super) number: u64,
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

#[derive(Debug)]
pub(super) struct Relay {
    state: Mutex<State>,
    /// Set when it is known how the others can be reached.
    messenger: OnceLock<Messenger>,
    questions: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    book: Book,
    backlog: Backlog,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            messenger: OnceLock::new(),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
        }
    }
}

impl Relay {
    /// Passes a message on to whoever listens to its topic. Returns how many of those miss it.
    pub(super) fn pass_on(&self, message: &Arrived) -> u64 {
        let mut state = self.state();
        state.backlog.keep(message);
        let Some(messenger) = self.messenger.get() else {
            return 0;
        };
        let listeners = state.book.listeners(&message.topic);
        let sent = listeners
            .into_iter()
            .map(|who| state.send(messenger, who, message));
        sent.sum()
    }

    /// Somebody begins to listen to topics, each from a moment on.
    fn listen(&self, who: Who, epoch: u64, topics: Vec<(String, Duration)>) {
        let mut state = self.state();
        let mut new = topics;
        new.retain(|(topic, _)| state.book.listen(who, epoch, topic));
        let Some(messenger) = self.messenger.get() else {
            return;
        };
        for message in state.backlog.since(&new, AGAIN) {
            state.send(messenger, who, &message);
        }
    }

    /// Asks one process that listens to the topic. `None`: nobody does, or too many are at it.
    pub(super) fn ask(
        &self,
        question: &Arrived,
        within: Duration,
    ) -> Option<impl Future<Output = Option<Reply>> + Send + use<>> {
        let messenger = self.messenger.get()?.clone();
        let place = Arc::clone(&self.questions).try_acquire_owned().ok()?;
        let (who, epoch) = self.state().book.one(&question.topic)?;
        let bytes = question.news(epoch, 0).ok()?;
        let within = within.min(LONGEST);
        Some(async move {
            let _place = place;
            let asked = messenger.request_bytes(Target::Process(who), NEWS, bytes, within);
            asked.await.ok()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends a message to one of its listeners. Returns 1 if that one misses it.
    fn send(&mut self, messenger: &Messenger, who: Who, message: &Arrived) -> u64 {
        let epoch = self.book.epoch(who);
        let Some(missed) = self.book.missed(who, &message.topic) else {
            return 0;
        };
        let sent = match message.news(epoch, *missed) {
            Ok(bytes) => messenger.send_bytes(Target::Process(who), NEWS, bytes),
            Err(_) => return 0,
        };
        match sent {
            Ok(_) => {
                *missed = 0;
                return 0;
            }
            Err(SendError::NoSuchPeer(_) | SendError::AgentUnavailable | SendError::Closed) => {
                self.book.leave(who);
                return 0;
            }
            // The first in a row is worth a line.
            Err(error @ SendError::TooLarge { .. }) if *missed == 0 => {
                tracing::warn!("a message of the fleet does not reach process #{who}: {error}");
            }
            Err(error) => {
                tracing::debug!("a message of the fleet does not reach process #{who}: {error}");
            }
        }
        *missed += 1;
        1
    }
}

impl Arrived {
    /// As it travels to a process of that epoch.
    fn news(&self, epoch: u64, missed: u64) -> Result<Bytes, FleetError> {
        let news = News {
            epoch,
            from: self.from.clone(),
            number: self.number,
            topic: self.topic.clone(),
            arrived: wire::nanos(self.at),
            missed,
        };
        wire::pack(&news, &self.payload)
    }
}
