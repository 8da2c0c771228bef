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

    pub(super) fn keep(&mut self, message: Kept, cost: usize) {
        self.bytes += cost;
        self.kept.push_back(message);
    }
}

impl IntoIterator for Early {
    type Item = Kept;
    type IntoIter = std::collections::vec_deque::IntoIter<Kept>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}
