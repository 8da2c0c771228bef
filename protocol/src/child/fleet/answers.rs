//! The answers to a question to all members, as they come.

use std::fmt;

use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};

use super::message::decode;
use super::{FleetError, MemberId};

/// What one member answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Who.
    pub from: MemberId,
    payload: Vec<u8>,
}

impl Answer {
    /// As it came.
    #[doc(hidden)]
    pub fn new(from: MemberId, payload: Vec<u8>) -> Self {
        Self { from, payload }
    }

    /// What, as bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What.
    ///
    /// # Errors
    ///
    /// [`FleetError::Payload`] if it is of another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FleetError> {
        decode(&self.payload)
    }
}

/// That a member has said something.
#[derive(Debug)]
pub struct Heard {
    /// What; nothing, if nobody listens there.
    pub answer: Option<Answer>,
    /// The room that it takes until it is taken.
    pub room: Option<OwnedSemaphorePermit>,
}

/// The answers to one question. Dropping them ends the question.
#[derive(Debug)]
pub struct Answers {
    queue: mpsc::Receiver<Heard>,
    waiting_for: u64,
    deadline: Instant,
    _close: Close,
}

/// What is to be done when nobody waits any more.
struct Close(Option<Box<dyn FnOnce() + Send + Sync>>);

impl fmt::Debug for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Close")
    }
}

impl Drop for Close {
    fn drop(&mut self) {
        if let Some(close) = self.0.take() {
            close();
        }
    }
}

impl Answers {
    /// Of a question that is about to be sent.
    #[doc(hidden)]
    pub fn new(
        queue: mpsc::Receiver<Heard>,
        deadline: Instant,
        close: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self {
            queue,
            waiting_for: 0,
            deadline,
            _close: Close(Some(Box::new(close))),
        }
    }

    /// It went out to so many.
    #[doc(hidden)]
    #[must_use]
    pub fn of(mut self, members: u64) -> Self {
        self.waiting_for = members;
        self
    }

    /// The next answer; `None` when every member has said something, or when the time is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Answer> {
        loop {
            let heard = self.heard().await?;
            if heard.answer.is_some() {
                return heard.answer;
            }
        }
    }

    /// The next thing that a member says, be it that nobody listens there.
    #[doc(hidden)]
    pub async fn heard(&mut self) -> Option<Heard> {
        if self.waiting_for == 0 {
            return None;
        }
        let heard = timeout_at(self.deadline, self.queue.recv()).await.ok()??;
        self.waiting_for -= 1;
        Some(heard)
    }

    /// How many members the question reached that have said nothing yet. More than 0 after the last answer:
    /// so many were too slow, or are gone.
    pub fn missing(&self) -> u64 {
        self.waiting_for
    }
}
