//! What can go wrong with an operation, and whether it was done.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::wire::Epoch;
use super::{MAX_BYTES, MAX_KEY, MAX_KEYS, MAX_VALUE};
use crate::child::messenger::{RequestError, SendError};

/// Why an operation has no result.
#[derive(Debug, Error)]
pub enum StateError {
    /// It was not sent, so it was not done: there is no agent at the moment, or no room.
    #[error("not done: {0}")]
    NotDone(#[source] SendError),
    /// The agent would not do it.
    #[error("not done: {0}")]
    Rejected(#[from] Rejection),
    /// It was done, if it was one that changes anything, and the value is not of the type that was asked for.
    #[error("the value is of another type: {0}")]
    Type(#[source] serde_json::Error),
    /// The answer is lost. It may have been done or not.
    #[error("it is not known whether it was done: {0}")]
    Unknown(#[source] RequestError),
}

impl From<RequestError> for StateError {
    fn from(error: RequestError) -> Self {
        match error {
            // The master may have gone while the agent was at it.
            RequestError::Send(SendError::Closed) => Self::Unknown(error),
            RequestError::Send(error) => Self::NotDone(error),
            other @ (RequestError::Timeout
            | RequestError::PeerGone(_)
            | RequestError::Unanswered(_)
            | RequestError::Refused { .. }
            | RequestError::Decode(_)
            | RequestError::Lost(_)) => Self::Unknown(other),
        }
    }
}

/// Why the agent did not do an operation. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rejection {
    /// The key has no characters.
    #[error("a key cannot be empty")]
    KeyEmpty,
    /// The key is too long.
    #[error("a key of {0} bytes is too long, {MAX_KEY} bytes are allowed")]
    KeyTooLong(usize),
    /// The value is too large.
    #[error("a value of {0} bytes is too large, {MAX_VALUE} bytes are allowed")]
    ValueTooLarge(usize),
    /// There are too many keys, of all processes together.
    #[error("there are {MAX_KEYS} keys already")]
    TooManyKeys,
    /// Keys and values, of all processes together, would be too large.
    #[error("the state is full: {MAX_BYTES} bytes are allowed")]
    Full,
    /// An expiry of less than a millisecond.
    #[error("a value cannot expire at once, a millisecond is the least")]
    Expiry,
    /// An addition to something that cannot be added to.
    #[error("the value is not an integer of 64 bits")]
    NotANumber,
    /// The sum is too large, or too small.
    #[error("the sum is not an integer of 64 bits")]
    Overflow,
    /// Another agent has begun with an empty state; this is its epoch.
    #[error("the state was begun anew, its epoch is {0} now")]
    Epoch(Epoch),
    /// The deadline had passed when it was its turn.
    #[error("the deadline had passed")]
    Late,
}
