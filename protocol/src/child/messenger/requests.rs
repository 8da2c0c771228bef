//! Who in this process waits for an answer.
//!
//! A number is given out once, and only who was asked may answer it: an answer that is late or made up finds nothing.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{Peer, Reply, RequestError, SendError};

pub(super) type Answer = Result<Reply, RequestError>;

#[derive(Debug)]
struct Waiting {
    /// Who was asked; nobody yet before egg-ready.
    asked: Option<Peer>,
    answer: oneshot::Sender<Answer>,
}

impl Waiting {
    fn end(self, answer: Answer) {
        // Whoever asked may have stopped waiting.
        let _ = self.answer.send(answer);
    }
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: HashMap<u64, Waiting>,
    last: u64,
}

impl Requests {
    /// A new one, its number, and where its answer comes.
    pub(super) fn begin(&mut self) -> (u64, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        self.last += 1;
        let asked = None;
        self.waiting.insert(self.last, Waiting { asked, answer });
        (self.last, receiver)
    }

    /// It has been sent to this process.
    pub(super) fn sent(&mut self, request: u64, to: Option<Peer>) {
        if let Some(waiting) = self.waiting.get_mut(&request) {
            waiting.asked = to;
        }
    }

    /// What a process says to it, if that is who was asked.
    pub(super) fn settle(&mut self, request: u64, from: u64, answer: impl FnOnce(Peer) -> Answer) {
        let asked = self.waiting.get(&request).and_then(|w| w.asked);
        let Some(asked) = asked.filter(|asked| asked.incarnation == from) else {
            return;
        };
        if let Some(waiting) = self.waiting.remove(&request) {
            waiting.end(answer(asked));
        }
    }

    /// It could not be sent.
    pub(super) fn fail(&mut self, request: u64, error: SendError) {
        if let Some(waiting) = self.waiting.remove(&request) {
            waiting.end(Err(error.into()));
        }
    }

    /// Nobody waits for that answer any more.
    pub(super) fn forget(&mut self, request: u64) {
        self.waiting.remove(&request);
    }

    /// Who was asked is gone, and has said all that it will ever say.
    pub(super) fn left(&mut self, peer: Peer) {
        let asked = |waiting: &Waiting| waiting.asked == Some(peer);
        for (_, waiting) in self.waiting.extract_if(|_, waiting| asked(waiting)) {
            waiting.end(Err(RequestError::PeerGone(peer)));
        }
    }

    /// Everybody is gone.
    pub(super) fn close(&mut self) {
        for (_, waiting) in self.waiting.drain() {
            waiting.end(Err(SendError::Closed.into()));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
