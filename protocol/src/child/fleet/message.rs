//! A message from the fleet, as a listener gets it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FleetError, LARGEST_PAYLOAD, LONGEST_NAME, MemberId};

/// A message from a member of the fleet, perhaps from this one: from its agent, or from one of its workers.
#[derive(Debug, Clone)]
pub struct FleetMessage {
    from: MemberId,
    topic: Arc<str>,
    payload: Bytes,
    question: Option<Arc<dyn Question>>,
}

/// Somebody waits for an answer: how it gets there, once.
pub trait Question: fmt::Debug + Send + Sync {
    /// Sends the answer to the member that asked.
    fn answer<'a>(
        &'a self,
        asker: &'a MemberId,
        answer: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<(), FleetError>> + Send + 'a>>;
}

impl FleetMessage {
    /// As a member has received it.
    #[doc(hidden)]
    pub fn new(
        from: MemberId,
        topic: Arc<str>,
        payload: Bytes,
        question: Option<Arc<dyn Question>>,
    ) -> Self {
        Self {
            from,
            topic,
            payload,
            question,
        }
    }

    /// Which member sent it.
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

    /// Answers, if nobody here has: each member of a fleet answers a question once. From a worker, `Ok` says that the
    /// agent has the answer.
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
        check_payload(answer, LARGEST_PAYLOAD)?;
        let question = self.question.as_ref().ok_or(FleetError::NoQuestion)?;
        question.answer(&self.from, answer).await
    }
}

/// Writes a payload.
///
/// # Errors
///
/// [`FleetError::Payload`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, FleetError> {
    serde_json::to_vec(value).map_err(|error| FleetError::Payload(error.to_string()))
}

/// Reads a payload.
///
/// # Errors
///
/// [`FleetError::Payload`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FleetError> {
    serde_json::from_slice(bytes).map_err(|error| FleetError::Payload(error.to_string()))
}

/// Whether it is small enough.
///
/// # Errors
///
/// [`FleetError::TooLarge`].
pub fn check_payload(payload: &[u8], max: usize) -> Result<(), FleetError> {
    let len = payload.len();
    if len > max {
        return Err(FleetError::TooLarge { len, max });
    }
    Ok(())
}

/// For topics and for names of leases.
///
/// # Errors
///
/// [`FleetError::Name`].
pub fn check_name(name: &str) -> Result<(), FleetError> {
    let len = name.len();
    if len == 0 || len > LONGEST_NAME {
        return Err(FleetError::Name { len });
    }
    Ok(())
}
