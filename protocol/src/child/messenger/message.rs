//! What a subscriber gets, and how it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::office::Office;
use super::payload::Packed;
use super::{Peer, ReplyError, SendError};
use crate::post::Kind;

/// A message that came.
///
/// One that wants an answer and is dropped without one tells so to whoever asked, at once.
#[derive(Debug)]
pub struct Message {
    /// Who sent it.
    pub from: Peer,
    /// The payload as it was sent.
    pub payload: Bytes,
    pub(super) question: Option<Arc<Question>>,
}

impl Message {
    /// Reads the payload as JSON.
    ///
    /// # Errors
    ///
    /// It is not what was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }

    /// Whether the sender waits for an answer.
    pub fn wants_reply(&self) -> bool {
        self.question.is_some()
    }

    /// Answers, in JSON. Waits while there is no room for answers to whoever asked.
    ///
    /// # Errors
    ///
    /// Nobody waits for an answer, or it cannot be sent. [`ReplyError::Gone`] says that whoever asked is gone;
    /// whether it still waits is not known here.
    pub async fn reply<T: Serialize + ?Sized>(&self, answer: &T) -> Result<(), ReplyError> {
        let bytes = serde_json::to_vec(answer).map_err(SendError::Encode)?;
        self.reply_bytes(bytes).await
    }

    /// Answers with raw bytes, otherwise as [`reply`](Self::reply).
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply).
    pub async fn reply_bytes(&self, answer: impl Into<Bytes>) -> Result<(), ReplyError> {
        self.answer(Kind::Reply, answer.into()).await
    }

    /// Says why there is no answer. The text is cut after 8 KiB.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply).
    pub async fn refuse(&self, reason: impl Into<String>) -> Result<(), ReplyError> {
        let mut reason = reason.into();
        crate::message::clip(&mut reason);
        self.answer(Kind::Refusal, reason.into()).await
    }

    async fn answer(&self, kind: Kind, payload: Bytes) -> Result<(), ReplyError> {
        let question = self.question.as_ref().ok_or(ReplyError::NotAsked)?;
        // Before it is taken for answered, or nobody would answer at all.
        let payload = Packed::new(question.office.limits, payload)?;
        if question.answered.swap(true, Relaxed) {
            return Err(ReplyError::Answered);
        }
        let Question {
            office, from, id, ..
        } = &**question;
        office.answer(kind, from.incarnation, *id, &payload).await
    }
}

/// Somebody waits for an answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) office: Arc<Office>,
    pub(super) from: Peer,
    pub(super) id: u64,
    pub(super) answered: AtomicBool,
}

impl Drop for Question {
    fn drop(&mut self) {
        if !*self.answered.get_mut() {
            self.office.unanswered(self.from.incarnation, self.id);
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Who answered.
    pub from: Peer,
    /// The answer as it was sent.
    pub payload: Bytes,
}

impl Reply {
    /// Reads the answer as JSON.
    ///
    /// # Errors
    ///
    /// It is not what was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}
