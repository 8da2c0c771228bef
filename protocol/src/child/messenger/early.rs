//! What is sent before egg-ready: kept, in order, and bounded.

use std::collections::VecDeque;

use super::Target;
use super::payload::Packed;
use crate::post::{Limits, MAX_FDS};

/// How many messages are kept at most, however small they are.
const MOST: usize = 256 * MAX_FDS;

/// One message that waits.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) target: Target,
    pub(super) topic: Box<str>,
    pub(super) payload: Packed,
    /// Its number, if it wants an answer.
    pub(super) request: Option<u64>,
    /// How much of what may be kept it takes.
    pub(super) cost: usize,
}

#[derive(Debug, Default)]
pub(super) struct Early {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Early {
    pub(super) fn has_room(&self, limits: Limits) -> bool {
        self.bytes < limits.window as usize && self.kept.len() < MOST
    }

    pub(super) fn keep(&mut self, message: Kept) {
        self.bytes += message.cost;
        self.kept.push_back(message);
    }

    /// Takes a request out that nobody waits for any more: what nobody asks must not be done.
    pub(super) fn withdraw(&mut self, request: u64) {
        let its = |kept: &Kept| kept.request == Some(request);
        if let Some(kept) = self.kept.iter().position(its)
            && let Some(kept) = self.kept.remove(kept)
        {
            self.bytes -= kept.cost;
        }
    }
}

impl IntoIterator for Early {
    type Item = Kept;
    type IntoIter = std::collections::vec_deque::IntoIter<Kept>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}
