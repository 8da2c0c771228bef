//! What can go wrong between follower and leader, as values.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::child::messenger::{RequestError, SendError};

/// How many keys of one leader may be followed.
pub const MAX_KEYS: usize = 4096;

/// Why a follower has no answer. Cheap to clone: all who follow a key hear of it.
#[derive(Debug, Clone, Error)]
pub enum FollowError {
    /// It was not sent: there is no agent at the moment, or no room, or it is too large. The leader has not heard of it.
    #[error("not done: {0}")]
    NotDone(#[source] Arc<SendError>),
    /// The agent refuses, or the leader itself does.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer is lost. Whether the leader has done anything is not known.
    #[error("it is not known whether it was done: {0}")]
    Unknown(#[source] Arc<RequestError>),
    /// The value is not of the type that was asked for, or cannot be written as JSON.
    #[error("the value is of another type: {0}")]
    Type(#[source] Arc<serde_json::Error>),
}

impl From<RequestError> for FollowError {
    fn from(error: RequestError) -> Self {
        match error {
            // The master may have gone while the agent was at it.
            RequestError::Send(SendError::Closed) => Self::Unknown(Arc::new(error)),
            RequestError::Send(error) => Self::NotDone(Arc::new(error)),
            other @ (RequestError::Timeout
            | RequestError::PeerGone(_)
            | RequestError::Unanswered(_)
            | RequestError::Refused { .. }
            | RequestError::Decode(_)
            | RequestError::Lost(_)) => Self::Unknown(Arc::new(other)),
        }
    }
}

impl From<serde_json::Error> for FollowError {
    fn from(error: serde_json::Error) -> Self {
        Self::Type(Arc::new(error))
    }
}

/// Why the agent, or a leader, does not do what a follower wants.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// The agent has no leader of that name.
    #[error(
        "the agent has no leader `{0}`: it is made known by `AgentContext::lead`, in `Agent::start`"
    )]
    NoLeader(String),
    /// The leader's own error.
    #[error("leader `{leader}` says: {reason}")]
    Failed {
        /// Its name.
        leader: String,
        /// The error.
        reason: String,
    },
    /// Too many keys of that leader are followed.
    #[error("{MAX_KEYS} keys of leader `{0}` are followed already")]
    TooManyKeys(String),
    /// The deadline had passed when it was its turn. The leader has not heard of it.
    #[error("the deadline had passed")]
    Late,
    /// Another agent is about to take over. Followers go on with that one.
    #[error("the agent is about to be replaced")]
    Leaving,
}
