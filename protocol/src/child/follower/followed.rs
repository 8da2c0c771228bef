//! A key that is followed: the task that asks, and the handle that tells.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::wire::{Said, Version, Wish};
use super::{FollowError, Follower, Refusal};
use crate::child::messenger::{RequestError, SendError};

/// How long the agent may keep a question until there is something new.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much later than that an answer may come.
const SLACK: Duration = Duration::from_secs(5);

/// Between two questions while there is no agent, or it refuses: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What is known of a key.
#[derive(Debug, Clone, Default)]
struct Known {
    value: Option<Arc<RawValue>>,
    /// Counts the values that were different.
    values: u64,
    /// Why there is nothing newer.
    error: Option<FollowError>,
    /// Counts the errors that were different.
    errors: u64,
}

/// A key's last value, and the next ones as they come. Dropped: it is followed no more.
#[derive(Debug)]
pub struct Followed<T> {
    known: watch::Receiver<Known>,
    values: u64,
    errors: u64,
    _ends: DropGuard,
    _type: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Followed<T> {
    pub(super) fn begin(follower: Follower, key: &str) -> Self {
        let (sender, known) = watch::channel(Known::default());
        let end = CancellationToken::new();
        let follow = follow(follower, key.to_owned(), sender);
        tokio::spawn(end.clone().run_until_cancelled_owned(follow));
        Self {
            known,
            values: 0,
            errors: 0,
            _ends: end.drop_guard(),
            _type: PhantomData,
        }
    }

    /// The last value that came, also while there is no agent. `None`: none has come yet.
    ///
    /// # Errors
    ///
    /// It is of another type.
    pub fn latest(&self) -> Result<Option<T>, FollowError> {
        let value = self.known.borrow().value.clone();
        let value = value.map(|value| serde_json::from_str(value.get()));
        Ok(value.transpose()?)
    }

    /// Waits for a value that is not the one that came last; the first one comes at once, if there is one. Values
    /// that are followed by others quickly may be left out. Cancel-safe.
    ///
    /// That there is no agent for a while is no error: the next one is asked.
    ///
    /// # Errors
    ///
    /// The agent or the leader refuses, each reason once; the value is of another type; this process has lost its
    /// master. To call again is to go on: the leader is asked again all the time.
    pub async fn next(&mut self) -> Result<T, FollowError> {
        loop {
            {
                let known = self.known.borrow_and_update();
                if known.values != self.values {
                    self.values = known.values;
                    if let Some(value) = &known.value {
                        return Ok(serde_json::from_str(value.get())?);
                    }
                }
                if known.errors != self.errors {
                    self.errors = known.errors;
                    if let Some(error) = &known.error {
                        return Err(error.clone());
                    }
                }
            }
            if self.known.changed().await.is_err() {
                return Err(FollowError::NotDone(Arc::new(SendError::Closed)));
            }
        }
    }
}

/// Asks until this process has lost its master.
async fn follow(follower: Follower, key: String, known: watch::Sender<Known>) {
    let mut seen: Option<Version> = None;
    let mut pause = PAUSES.0;
    loop {
        let wish = Wish::Follow {
            key: key.clone(),
            seen,
        };
        let error = match follower.ask(wish, PATIENCE, PATIENCE + SLACK).await {
            Ok(Said::Value(version, value)) => {
                seen = Some(version);
                pause = PAUSES.0;
                known.send_if_modified(|known| known.take(value));
                continue;
            }
            Ok(Said::Unchanged | Said::Published | Said::Returned(_)) => {
                pause = PAUSES.0;
                known.send_if_modified(Known::recover);
                continue;
            }
            Err(error) => error,
        };
        if is_the_end(&error) {
            return;
        }
        if !is_passing(&error) {
            known.send_if_modified(|known| known.fail(error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

impl Known {
    /// Whether it is another value than before: a new agent may say again what the last one said.
    fn take(&mut self, value: Box<RawValue>) -> bool {
        self.error = None;
        let is_same = |old: &Arc<RawValue>| old.get() == value.get();
        if self.value.as_ref().is_some_and(is_same) {
            return false;
        }
        self.value = Some(value.into());
        self.values += 1;
        true
    }

    fn recover(&mut self) -> bool {
        self.error = None;
        false
    }

    /// Whether it is another error than before.
    fn fail(&mut self, error: FollowError) -> bool {
        let is_same = |old: &FollowError| old.to_string() == error.to_string();
        if self.error.as_ref().is_some_and(is_same) {
            return false;
        }
        self.error = Some(error);
        self.errors += 1;
        true
    }
}

fn is_the_end(error: &FollowError) -> bool {
    matches!(error, FollowError::Unknown(error) if matches!(**error, RequestError::Send(SendError::Closed)))
}

/// Whether another agent, or a moment, is all that is needed.
fn is_passing(error: &FollowError) -> bool {
    match error {
        FollowError::NotDone(error) => !matches!(**error, SendError::TooLarge { .. }),
        FollowError::Unknown(_) | FollowError::Refused(Refusal::Leaving | Refusal::Late) => true,
        FollowError::Refused(_) | FollowError::Type(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn followed() -> (watch::Sender<Known>, Followed<u32>) {
        let (sender, known) = watch::channel(Known::default());
        let followed = Followed {
            known,
            values: 0,
            errors: 0,
            _ends: CancellationToken::new().drop_guard(),
            _type: PhantomData,
        };
        (sender, followed)
    }

    #[tokio::test]
    async fn each_other_value_is_told_once() {
        let (known, mut followed) = followed();
        assert_eq!(followed.latest().unwrap(), None);
        known.send_if_modified(|known| known.take(raw("1")));
        assert_eq!(followed.next().await.unwrap(), 1);
        assert!(!known.send_if_modified(|known| known.take(raw("1"))));
        known.send_if_modified(|known| known.take(raw("2")));
        known.send_if_modified(|known| known.take(raw("3")));
        assert_eq!(followed.next().await.unwrap(), 3, "the last one");
        known.send_if_modified(|known| known.take(raw("\"x\"")));
        let error = followed.next().await.unwrap_err();
        assert!(matches!(error, FollowError::Type(_)), "{error}");
        drop(known);
        let error = followed.next().await.unwrap_err();
        assert!(matches!(error, FollowError::NotDone(_)), "{error}");
    }

    #[tokio::test]
    async fn each_other_error_is_told_once_and_the_value_stays() {
        let (known, mut followed) = followed();
        let no_leader = || FollowError::from(Refusal::NoLeader("x".into()));
        known.send_if_modified(|known| known.take(raw("1")));
        known.send_if_modified(|known| known.fail(no_leader()));
        assert_eq!(followed.next().await.unwrap(), 1);
        assert!(followed.next().await.is_err());
        assert_eq!(followed.latest().unwrap(), Some(1));
        assert!(!known.send_if_modified(|known| known.fail(no_leader())));
        known.send_if_modified(Known::recover);
        assert!(known.send_if_modified(|known| known.fail(no_leader())));
        assert!(followed.next().await.is_err(), "again, after it was over");
    }
}
