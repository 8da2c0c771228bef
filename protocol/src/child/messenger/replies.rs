//! Answers to requests: one, or one of each.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::FuturesUnordered;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::office::Office;
use super::requests::Answer;
use super::{Peer, Reply, RequestError, SendError};

/// A request that was sent. Dropped: its answer is dropped, too.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) office: Arc<Office>,
    pub(super) request: u64,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.office.forget(self.request);
    }
}

impl Asked {
    pub(super) async fn wait(mut self, until: Instant) -> Answer {
        match timeout_at(until, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(SendError::Closed.into()),
            Err(_) => Err(RequestError::Timeout),
        }
    }
}

/// What one of many said.
#[derive(Debug)]
pub struct PeerReply {
    /// Who was asked.
    pub from: Peer,
    /// Its answer, or why there is none.
    pub answer: Result<Reply, RequestError>,
}

impl PeerReply {
    /// Reads the answer as JSON.
    ///
    /// # Errors
    ///
    /// There is none, or it is not what was expected.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, RequestError> {
        self.answer?.json().map_err(RequestError::Decode)
    }
}

type Waiting = Pin<Box<dyn Future<Output = PeerReply> + Send>>;

/// The answers of many, as they come: one of each that was asked, at the deadline an error for each that is
/// missing, then the end.
pub struct Replies {
    waiting: FuturesUnordered<Waiting>,
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.len();
        f.debug_struct("Replies")
            .field("waiting", &waiting)
            .finish()
    }
}

impl Replies {
    pub(super) fn new(asked: Vec<(Peer, Result<Asked, SendError>)>, until: Instant) -> Self {
        let waiting = asked.into_iter().map(|(from, asked)| -> Waiting {
            Box::pin(async move {
                let answer = match asked {
                    Ok(asked) => asked.wait(until).await,
                    Err(error) => Err(error.into()),
                };
                PeerReply { from, answer }
            })
        });
        Self {
            waiting: waiting.collect(),
        }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Option<PeerReply> {
        futures_util::StreamExt::next(&mut self.waiting).await
    }
}

impl Stream for Replies {
    type Item = PeerReply;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PeerReply>> {
        Pin::new(&mut self.waiting).poll_next(cx)
    }
}
