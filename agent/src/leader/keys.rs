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
use tokio::sync::OnceCell;

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
    /// The leader has taken it on.
    subscribed: OnceCell<()>,
}

/// One leader, and what is followed of it.
pub(super) struct Led {
    name: String,
    leader: Box<dyn Leader>,
    epoch: u64,
    keys: Mutex<HashMap<String, Arc<Key>>>,
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
            leader,
            // Two agents of one host never begin in the same nanosecond.
            epoch: u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX),
            keys: Mutex::default(),
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
                let feed = self.follow(&key).await?;
                Ok(match feed.other_than(seen, within).await {
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

    /// The feed of a key that the leader has taken on; who comes second waits for whoever came first.
    async fn follow(&self, name: &str) -> Result<Feed, Refusal> {
        let key = self.key(name)?;
        let subscribe = || self.leader.subscribe(name, key.feed.clone());
        if let Err(error) = key.subscribed.get_or_try_init(subscribe).await {
            let mut keys = self.keys();
            // Another one may have tried at once, with better luck.
            let is_it = |k: &Arc<Key>| Arc::ptr_eq(k, &key) && !k.subscribed.initialized();
            if keys.get(name).is_some_and(is_it) {
                keys.remove(name);
            }
            return Err(Refusal::Failed {
                leader: self.name.clone(),
                reason: error.to_string(),
            });
        }
        Ok(key.feed.clone())
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Arc<Key>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, name: &str) -> Result<Arc<Key>, Refusal> {
        let mut keys = self.keys();
        if let Some(key) = keys.get(name) {
            return Ok(Arc::clone(key));
        }
        if keys.len() >= MAX_KEYS {
            return Err(Refusal::TooManyKeys(self.name.clone()));
        }
        let key = Arc::new(Key {
            feed: Feed::new(self.epoch),
            subscribed: OnceCell::new(),
        });
        keys.insert(name.to_owned(), Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
