//! Keys and values, within limits, until they expire. Pure: time is told.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::child::state::{ENTRY, MAX_BYTES, MAX_KEY, MAX_KEYS, MAX_VALUE, Rejection};
use serde_json::value::RawValue;

#[derive(Debug)]
struct Entry {
    value: Box<RawValue>,
    expires: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    by_key: HashMap<Arc<str>, Entry>,
    /// When which key expires, the next one first.
    expiring: BTreeSet<(Duration, Arc<str>)>,
    bytes: usize,
}

fn cost(key: &str, value: &RawValue) -> usize {
    key.len() + value.get().len() + ENTRY
}

impl Entries {
    /// Drops what has expired.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((expires, key)) = self.expiring.first() {
            if *expires > now {
                return;
            }
            let key = Arc::clone(key);
            self.remove(&key);
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&RawValue> {
        self.by_key.get(key).map(|entry| &*entry.value)
    }

    pub(super) fn expiry(&self, key: &str) -> Option<Duration> {
        self.by_key.get(key)?.expires
    }

    /// Gives a key a value, and a moment when it loses it.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: Box<RawValue>,
        expires: Option<Duration>,
    ) -> Result<(), Rejection> {
        let size = value.get().len();
        if key.is_empty() {
            return Err(Rejection::KeyEmpty);
        }
        if key.len() > MAX_KEY {
            return Err(Rejection::KeyTooLong(key.len()));
        }
        if size > MAX_VALUE {
            return Err(Rejection::ValueTooLarge(size));
        }
        let old = self.get(key).map(|old| cost(key, old));
        if old.is_none() && self.by_key.len() >= MAX_KEYS {
            return Err(Rejection::TooManyKeys);
        }
        if self.bytes - old.unwrap_or(0) + cost(key, &value) > MAX_BYTES {
            return Err(Rejection::Full);
        }
        self.remove(key);
        let key: Arc<str> = key.into();
        self.bytes += cost(&key, &value);
        if let Some(expires) = expires {
            self.expiring.insert((expires, Arc::clone(&key)));
        }
        self.by_key.insert(key, Entry { value, expires });
        Ok(())
    }

    /// `false`: it had no value.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some((key, entry)) = self.by_key.remove_entry(key) else {
            return false;
        };
        self.bytes -= cost(&key, &entry.value);
        if let Some(expires) = entry.expires {
            self.expiring.remove(&(expires, key));
        }
        true
    }

    /// What has to hold after each step.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let entries = || self.by_key.iter();
        assert!(self.by_key.len() <= MAX_KEYS);
        assert!(self.bytes <= MAX_BYTES);
        let bytes: usize = entries().map(|(key, entry)| cost(key, &entry.value)).sum();
        assert_eq!(self.bytes, bytes);
        let expiring: BTreeSet<_> = entries()
            .filter_map(|(key, entry)| Some((entry.expires?, Arc::clone(key))))
            .collect();
        assert_eq!(self.expiring, expiring);
    }
}
