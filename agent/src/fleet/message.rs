//! A message from the fleet, as a listener gets it.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::Question;
use super::{FleetError, LARGEST_PAYLOAD, LONGEST_NAME, MemberId};

/// A message from a member of the fleet, perhaps from this one.
#[derive(Debug, Clone)]
pub struct FleetMessage {
    from: MemberId,
    topic: Arc<str>,
    payload: Arc<[u8]>,
    question: Option<Arc<Question>>,
}

impl FleetMessage {
    pub(super) fn new(
        from: MemberId,
        topic: Arc<str>,
        payload: Arc<[u8]>,
        question: Option<Question>,
    ) -> Self {
        Self {
            from,
            topic,
            payload,
            question: question.map(Arc::new),
        }
    }

    /// Who sent it.
    pub fn from(&self) -> &MemberId {
        &self.from
    }

    /// What it is about.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What was sent, as bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What was sent.
    ///
    /// # Errors
    ///
    /// [`FleetError::Payload`] if it is of another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FleetError> {
        decode(&self.payload)
    }

    /// Whether somebody waits for an answer.
    pub fn is_question(&self) -> bool {
        self.question.is_some()
    }

    /// Answers, if nobody in this process has: each member of a fleet answers a question once.
    ///
    /// # Errors
    ///
    /// [`FleetError::NoQuestion`], and what sending may meet. The asker may have stopped waiting; nobody is told.
    pub async fn answer<T: Serialize + ?Sized>(&self, answer: &T) -> Result<(), FleetError> {
        self.answer_bytes(&encode(answer)?).await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    pub async fn answer_bytes(&self, answer: &[u8]) -> Result<(), FleetError> {
        check_payload(answer)?;
        let question = self.question.as_ref().ok_or(FleetError::NoQuestion)?;
        question.answer(&self.from, answer).await
    }
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, FleetError> {
    serde_json::to_vec(value).map_err(|error| FleetError::Payload(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FleetError> {
    serde_json::from_slice(bytes).map_err(|error| FleetError::Payload(error.to_string()))
}

pub(super) fn check_payload(payload: &[u8]) -> Result<(), FleetError> {
    let len = payload.len();
    if len > LARGEST_PAYLOAD {
        return Err(FleetError::TooLarge { len });
    }
    Ok(())
}

/// For topics and for names of leases.
pub(super) fn check_name(name: &str) -> Result<(), FleetError> {
    let len = name.len();
    if len == 0 || len > LONGEST_NAME {
        return Err(FleetError::Name { len });
    }
    Ok(())
}
