//! Small state that all processes of a cluster share: counters, flags, locks.
//!
//! The agent holds it, and does one operation after the other, so each of them is atomic. This is the side of whoever
//! uses it, in workers and in the agent alike; [`wire`] is what travels, by the messenger.
//!
//! What holds:
//!
//! - an operation is done once or not at all, and never after its deadline;
//! - [`StateError`] says which of the two, or that nobody can know;
//! - the death of a worker changes nothing of it;
//! - a new agent begins with an empty state and another [`Epoch`].
//!
//! Not here: state that outlives its agent, and large state.

mod error;
pub mod wire;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

pub use error::{Rejection, StateError};
pub use wire::Epoch;

use self::wire::{Answer, Done, Operation, Request, TOPIC};
use super::Messenger;
use super::messenger::{RequestError, SendError, Target};
use crate::clock::{millis, monotonic};

/// How many keys there may be.
pub const MAX_KEYS: usize = 65_536;

/// How long a key may be, in bytes.
pub const MAX_KEY: usize = 255;

/// How large a value may be, in bytes of JSON.
pub const MAX_VALUE: usize = 64 * 1024;

/// How much all of it may be, in bytes: keys, values, and [`ENTRY`] for each.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What an entry takes beside its key and its value, in bytes.
pub const ENTRY: usize = 64;

/// How long an operation may take, unless [`State::within`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(2);

/// The state that every process of the cluster shares. Cheap to clone.
///
/// Any value that serde can write as JSON is a value, except for `null`, which is none: to set it removes the key. A
/// counter is an integer. Use it from egg-ready on: before, every
/// operation waits for that.
///
/// ```no_run
/// # use hatchery_protocol::child::Context;
/// # use hatchery_protocol::child::state::{StateError, Swap};
/// # use std::time::Duration;
/// # async fn f(context: &Context) -> Result<(), StateError> {
/// let state = context.state();
/// let requests: i64 = state.add("requests", 1).await?;
///
/// // One of all workers does this, and not again within a minute.
/// let lock = state.expiring(Duration::from_secs(60));
/// if let Swap::Done = lock.compare_and_set("rebuilding", None, Some(&context.pid())).await? {
///     // ...
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct State {
    messenger: Messenger,
    deadline: Duration,
    expiry: Option<Duration>,
    epoch: Option<Epoch>,
}

/// What became of a [`State::compare_and_set`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap<T> {
    /// The value was what was expected, and is the new one now.
    Done,
    /// It was another one, this one, and still is.
    Differs(Option<T>),
}

impl State {
    pub(in crate::child) fn new(messenger: &Messenger) -> Self {
        Self {
            messenger: messenger.reserved(),
            deadline: DEADLINE,
            expiry: None,
            epoch: None,
        }
    }

    /// The same state, by operations that may take so long instead of two seconds.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// The same state, by operations whose values expire: so long after [`set`](Self::set) and
    /// [`compare_and_set`](Self::compare_and_set), which without this take an expiry away; so long after the
    /// [`add`](Self::add) that begins a counter, which later ones leave alone. Whole milliseconds count.
    #[must_use]
    pub fn expiring(&self, after: Duration) -> Self {
        Self {
            expiry: Some(after),
            ..self.clone()
        }
    }

    /// The same state as long as it is the same: operations are rejected with [`Rejection::Epoch`] once another agent
    /// has begun with an empty one.
    #[must_use]
    pub fn in_epoch(&self, epoch: Epoch) -> Self {
        Self {
            epoch: Some(epoch),
            ..self.clone()
        }
    }

    /// Which state this is. Another one than before says that all keys were forgotten meanwhile.
    ///
    /// # Errors
    ///
    /// The agent does not say.
    pub async fn epoch(&self) -> Result<Epoch, StateError> {
        let answer = self.perform("", Operation::Epoch).await?;
        Ok(answer.epoch)
    }

    /// The value of a key. `None`: it has none, or it has expired.
    ///
    /// # Errors
    ///
    /// The agent does not say, or it is another type's.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        let answer = self.perform(key, Operation::Get).await?;
        read(answer.outcome)
    }

    /// Gives a key a value, whatever it had.
    ///
    /// # Errors
    ///
    /// Whether it was done is in [`StateError`].
    pub async fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), StateError> {
        let set = Operation::Set(write(value)?);
        self.perform(key, set).await.map(drop)
    }

    /// Adds to a counter, and says what it is then. A key without a value counts from 0.
    ///
    /// # Errors
    ///
    /// The value is no integer, or would be none of 64 bits; or as for [`set`](Self::set).
    pub async fn add(&self, key: &str, by: i64) -> Result<i64, StateError> {
        let answer = self.perform(key, Operation::Add(by)).await?;
        let Ok(Done::Number(sum)) = answer.outcome else {
            return Err(unexpected());
        };
        Ok(sum)
    }

    /// Gives a key a value if it has the one that is expected. `None` is no value: expected, the key must have none;
    /// given, it is removed. Values are compared as JSON, so the order of an object's fields does not count.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub async fn compare_and_set<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        expected: Option<&T>,
        new: Option<&T>,
    ) -> Result<Swap<T>, StateError> {
        let expected = expected.map(write).transpose()?;
        let new = new.map(write).transpose()?;
        let swap = Operation::CompareAndSet { expected, new };
        let answer = self.perform(key, swap).await?;
        if matches!(answer.outcome, Ok(Done::Yes)) {
            return Ok(Swap::Done);
        }
        read(answer.outcome).map(Swap::Differs)
    }

    /// Removes a key. `false`: it had no value.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub async fn remove(&self, key: &str) -> Result<bool, StateError> {
        let answer = self.perform(key, Operation::Remove).await?;
        Ok(matches!(answer.outcome, Ok(Done::Yes)))
    }

    async fn perform(&self, key: &str, operation: Operation) -> Result<Answer, StateError> {
        if key.len() > MAX_KEY {
            return Err(Rejection::KeyTooLong(key.len()).into());
        }
        let request = Request {
            key: key.to_owned(),
            operation,
            expiry_ms: self.expiry.map(millis),
            epoch: self.epoch,
            until_ms: millis(monotonic().saturating_add(self.deadline)),
        };
        let asked = self
            .messenger
            .request(Target::Agent, TOPIC, &request, self.deadline);
        let answer: Answer = asked.await?;
        match answer.outcome {
            Err(rejection) => Err(rejection.into()),
            Ok(_) => Ok(answer),
        }
    }
}

fn write<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, StateError> {
    to_raw_value(value).map_err(|error| StateError::NotDone(SendError::Encode(error)))
}

fn read<T: DeserializeOwned>(outcome: Result<Done, Rejection>) -> Result<Option<T>, StateError> {
    match outcome? {
        Done::Value(value) => {
            let value = value.map(|value| serde_json::from_str(value.get()));
            value.transpose().map_err(StateError::Type)
        }
        Done::Yes | Done::No | Done::Number(_) => Err(unexpected()),
    }
}

/// Only another build of this crate would answer so.
fn unexpected() -> StateError {
    StateError::Unknown(RequestError::Lost("it answers another question".into()))
}
