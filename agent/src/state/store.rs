//! What an operation does to the state. Pure: time is told.

#[cfg(test)]
mod tests;

use std::time::Duration;

use hatchery_protocol::child::state::Rejection;
use hatchery_protocol::child::state::wire::{Answer, Done, Epoch, Operation, Request};
use hatchery_protocol::clock::millis;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::entries::Entries;

/// The state, from its empty beginning.
#[derive(Debug)]
pub(super) struct Store {
    epoch: Epoch,
    entries: Entries,
}

impl Store {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            entries: Entries::default(),
        }
    }

    /// Does an operation, or nothing.
    pub(super) fn perform(&mut self, now: Duration, request: Request) -> Answer {
        self.entries.expire(now);
        Answer {
            epoch: self.epoch,
            outcome: self.try_to(now, request),
        }
    }

    fn try_to(&mut self, now: Duration, request: Request) -> Result<Done, Rejection> {
        let Request {
            key,
            operation,
            expiry_ms,
            epoch,
            until_ms,
        } = request;
        if millis(now) > until_ms {
            return Err(Rejection::Late);
        }
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(Rejection::Epoch(self.epoch));
        }
        let expires = match expiry_ms {
            None => None,
            Some(0) => return Err(Rejection::Expiry),
            Some(after) => now.checked_add(Duration::from_millis(after)),
        };
        match operation {
            Operation::Epoch => Ok(Done::Yes),
            Operation::Get => Ok(Done::Value(self.value(&key))),
            Operation::Set(value) => self.set(&key, Some(value), expires),
            Operation::Add(by) => self.add(&key, by, expires),
            Operation::CompareAndSet { expected, new } => {
                if is_same(self.entries.get(&key), expected.as_deref()) {
                    self.set(&key, new, expires)?;
                    Ok(Done::Yes)
                } else {
                    Ok(Done::Value(self.value(&key)))
                }
            }
            Operation::Remove => Ok(if self.entries.remove(&key) {
                Done::Yes
            } else {
                Done::No
            }),
        }
    }

    fn value(&self, key: &str) -> Option<Box<RawValue>> {
        self.entries.get(key).map(ToOwned::to_owned)
    }

    fn set(
        &mut self,
        key: &str,
        value: Option<Box<RawValue>>,
        expires: Option<Duration>,
    ) -> Result<Done, Rejection> {
        match value.filter(|value| value.get() != "null") {
            Some(value) => self.entries.set(key, value, expires)?,
            None if key.is_empty() => return Err(Rejection::KeyEmpty),
            None => drop(self.entries.remove(key)),
        }
        Ok(Done::Yes)
    }

    fn add(&mut self, key: &str, by: i64, expires: Option<Duration>) -> Result<Done, Rejection> {
        let (sum, expires) = match self.entries.get(key) {
            None => (by, expires),
            Some(value) => {
                let value: i64 = value.get().parse().map_err(|_| Rejection::NotANumber)?;
                let sum = value.checked_add(by).ok_or(Rejection::Overflow)?;
                (sum, self.entries.expiry(key))
            }
        };
        let value = to_raw_value(&sum).map_err(|_| Rejection::NotANumber)?;
        self.entries.set(key, value, expires)?;
        Ok(Done::Number(sum))
    }
}

/// Compared as JSON, not as text: another process may write the fields of an object in another order.
fn is_same(value: Option<&RawValue>, other: Option<&RawValue>) -> bool {
    fn parse(value: Option<&RawValue>) -> Option<Value> {
        let value = value.map(|value| serde_json::from_str(value.get()));
        // It was read as JSON once, so it can be again. `null` is no value.
        value
            .and_then(Result::ok)
            .filter(|value: &Value| !value.is_null())
    }
    match (value, other) {
        (Some(value), Some(other)) if value.get() == other.get() => true,
        _ => parse(value) == parse(other),
    }
}
