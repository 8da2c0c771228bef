//! What can go wrong with a fleet, for whoever calls it.

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::child::messenger::{ReplyError, RequestError, SendError};

/// Why a call to the fleet did nothing, or why nobody knows whether it did.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FleetError {
    /// The application runs without a fleet.
    #[error("this application has no fleet: set `fleet` to the address of a Redis server")]
    NotConfigured,
    /// The call goes through the agent, and there is none at the moment. Nothing was sent.
    #[error("the agent is unavailable, and with it the fleet")]
    AgentUnavailable,
    /// There is no connection. Nothing was sent.
    #[error("the fleet's Redis cannot be reached")]
    Disconnected,
    /// The connection or the agent was lost, or no answer came in time. It may have been done or not.
    #[error("the fleet did not answer; what was asked may have been done or not")]
    Unanswered,
    /// Too much is on its way already. Nothing was sent.
    #[error("too much is on its way to the fleet already")]
    Busy,
    /// This process has no memory or no descriptor for a large payload. Nothing was sent.
    #[error("there is no memory for a large payload: {0}")]
    Memory(String),
    /// Redis has no memory left for it.
    #[error("the fleet's Redis is full (maxmemory)")]
    Full,
    /// Redis refused it, with this code, for example `NOPERM`.
    #[error("the fleet's Redis refused: {0}")]
    Refused(String),
    /// A topic or the name of a lease is empty or longer than it may be.
    #[error("a topic or name has 1 to {max} bytes, this has {len}", max = super::LONGEST_NAME)]
    Name {
        /// How long it is.
        len: usize,
    },
    /// A payload is larger than it may be.
    #[error("a payload has at most {max} bytes here, this has {len}")]
    TooLarge {
        /// How large it is.
        len: usize,
        /// How large it may be.
        max: usize,
    },
    /// More subscriptions, questions or leases than one process may have.
    #[error("there are too many {0} in this process already")]
    TooMany(#[serde(deserialize_with = "known")] Word),
    /// The payload is not of the type that is asked for, or has no form as JSON.
    #[error("the payload does not fit its type: {0}")]
    Payload(String),
    /// The message was no question, or it has its answer.
    #[error("there is nobody to answer, or the answer was given")]
    NoQuestion,
}

/// Not borrowed from what is read.
type Word = &'static str;

/// What an agent may have too many of.
fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
    let said = String::deserialize(from)?;
    let known = ["subscriptions", "questions", "leases", "members"];
    let found = known.into_iter().find(|word| *word == said);
    Ok(found.unwrap_or("things"))
}

impl From<SendError> for FleetError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::AgentUnavailable | SendError::NoSuchPeer(_) => Self::AgentUnavailable,
            SendError::Full(_) => Self::Busy,
            SendError::TooLarge { size, limit } => Self::TooLarge {
                len: size,
                max: limit,
            },
            SendError::Memory(error) => Self::Memory(error.to_string()),
            // The master may have gone while the agent was at it.
            SendError::Closed => Self::Unanswered,
            error @ (SendError::Topic(_) | SendError::Encode(_) | SendError::Many(_)) => {
                Self::Payload(error.to_string())
            }
        }
    }
}

impl From<RequestError> for FleetError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Send(error) => error.into(),
            RequestError::Refused { reason, .. } => Self::Payload(reason),
            RequestError::Timeout
            | RequestError::PeerGone(_)
            | RequestError::Unanswered(_)
            | RequestError::Decode(_)
            | RequestError::Lost(_) => Self::Unanswered,
        }
    }
}

impl From<ReplyError> for FleetError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::NotAsked | ReplyError::Answered => Self::NoQuestion,
            ReplyError::Gone => Self::AgentUnavailable,
            ReplyError::Send(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_sent() {
        for error in [
            FleetError::NotConfigured,
            FleetError::TooMany("questions"),
            FleetError::TooLarge { len: 2, max: 1 },
            FleetError::Refused("NOPERM".into()),
        ] {
            let json = serde_json::to_string(&error).unwrap();
            assert_eq!(serde_json::from_str::<FleetError>(&json).unwrap(), error);
        }
        let later = r#"{"too-many":"sorrows"}"#;
        let read: FleetError = serde_json::from_str(later).unwrap();
        assert_eq!(read, FleetError::TooMany("things"));
    }
}
