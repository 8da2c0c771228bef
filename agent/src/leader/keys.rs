//! Who leads, and which keys are followed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hatchery_protocol::child::follower::wire::{Said, Wish};
use hatchery_protocol::child::follower::{MAX_KEYS, Refusal};
use hatchery_protocol::clock::monotonic;
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Feed, Leader};

/// A leader that cannot be made known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LeadError {
    /// The name has no characters.
    #[error("a leader's name cannot be empty")]
    Empty,
    /// Another one has it.
    #[error("there is a leader `{0}` already")]
    Taken(String),
}

/// A key that is followed, or is about to be.
#[derive(Debug)]
struct Key {
    feed: Feed,
    /// Whether the leader has taken it on, once that is known.
    taken: watch::Receiver<Option<Result<(), String>>>,
}

type Keys = HashMap<String, Arc<Key>>;

/// One leader, and what is followed of it.
pub(super) struct Led {
    name: String,
    leader: Arc<dyn Leader>,
    epoch: u64,
    keys: Arc<Mutex<Keys>>,
}

/// All leaders of this agent, by name. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Leaders(Arc<Mutex<HashMap<String, Arc<Led>>>>);

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name().keys()).finish()
    }
}

impl Leaders {
    fn by_name(&self) -> MutexGuard<'_, HashMap<String, Arc<Led>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, name: &str, leader: Box<dyn Leader>) -> Result<(), LeadError> {
        if name.is_empty() {
            return Err(LeadError::Empty);
        }
        let mut by_name = self.by_name();
        if by_name.contains_key(name) {
            return Err(LeadError::Taken(name.to_owned()));
        }
        let led = Led {
            name: name.to_owned(),
            leader: leader.into(),
            // Two agents of one host never begin in the same nanosecond.
            epoch: u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX),
            keys: Arc::default(),
        };
        by_name.insert(name.to_owned(), Arc::new(led));
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Led>, Refusal> {
        let led = self.by_name().get(name).map(Arc::clone);
        led.ok_or_else(|| Refusal::NoLeader(name.to_owned()))
    }
}

impl Led {
    /// Does what a follower wants; a value is waited for so long.
    pub(super) async fn grant(&self, wish: Wish, within: Duration) -> Result<Said, Refusal> {
        let failed = |error: &dyn fmt::Display| Refusal::Failed {
            leader: self.name.clone(),
            reason: error.to_string(),
        };
        match wish {
            Wish::Follow { key, seen } => {
                let until = Instant::now() + within;
                let Some(feed) = self.follow(&key, until).await? else {
                    return Ok(Said::Unchanged);
                };
                let left = until.saturating_duration_since(Instant::now());
                Ok(match feed.other_than(seen, left).await {
                    Some((version, value)) => Said::Value(version, (*value).to_owned()),
                    None => Said::Unchanged,
                })
            }
            Wish::Publish { key, value } => {
                let value = serde_json::from_str(value.get()).map_err(|error| failed(&error))?;
                let published = self.leader.publish(&key, value).await;
                published.map_err(|error| failed(&error))?;
                Ok(Said::Published)
            }
            Wish::Invoke { method, argument } => {
                let argument =
                    serde_json::from_str(argument.get()).map_err(|error| failed(&error))?;
                let returned = self.leader.invoke(&method, argument).await;
                let returned = returned.map_err(|error| failed(&error))?;
                let returned: Box<RawValue> =
                    to_raw_value(&returned).map_err(|error| failed(&error))?;
                Ok(Said::Returned(returned))
            }
        }
    }

    /// The feed of a key that the leader has taken on; who comes second waits for whoever came first. `None`: it has not
    /// by then.
    async fn follow(&self, name: &str, until: Instant) -> Result<Option<Feed>, Refusal> {
        let key = self.key(name)?;
        let mut taken = key.taken.clone();
        let known = timeout_at(until, taken.wait_for(Option::is_some)).await;
        match known.map(|known| known.ok().and_then(|known| known.clone())) {
            Ok(Some(Ok(()))) => Ok(Some(key.feed.clone())),
            Ok(Some(Err(reason))) => Err(Refusal::Failed {
                leader: self.name.clone(),
                reason,
            }),
            // Nobody will say any more only when this process is at its end.
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn key(&self, name: &str) -> Result<Arc<Key>, Refusal> {
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(name) {
            return Ok(Arc::clone(key));
        }
        if keys.len() >= MAX_KEYS {
            return Err(Refusal::TooManyKeys(self.name.clone()));
        }
        let feed = Feed::new(self.epoch);
        let (outcome, taken) = watch::channel(None);
        let leader = Arc::clone(&self.leader);
        let (key, to) = (name.to_owned(), feed.clone());
        // Apart from whoever asks: those give up after a while, and the leader is asked once.
        let taking = tokio::spawn(async move { leader.subscribe(&key, to).await });
        let (all, name) = (Arc::clone(&self.keys), name.to_owned());
        let key = Arc::new(Key { feed, taken });
        keys.insert(name.clone(), Arc::clone(&key));
        tokio::spawn(async move {
            let taken = match taking.await {
                Ok(taken) => taken.map_err(|error| error.to_string()),
                Err(panic) => Err(panic.to_string()),
            };
            if taken.is_err() {
                // Whoever asks next has it tried again.
                lock(&all).remove(&name);
            }
            outcome.send_replace(Some(taken));
        });
        Ok(key)
    }
}

fn lock(keys: &Mutex<Keys>) -> MutexGuard<'_, Keys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
