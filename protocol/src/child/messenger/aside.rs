//! What comes of messages that are taken or dropped, wherever that happens: under a lock of its own, which is a leaf.

use std::collections::HashMap;

use super::directory::Class;

#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Room to be given back to whom, once it is worth a frame.
    owed: HashMap<(u64, Class), usize>,
    due: Vec<(u64, Class, usize)>,
    unanswered: Vec<(u64, u64)>,
}

/// What is to be told: room to whom, and which requests of whom have no answer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) room: Vec<(u64, Class, usize)>,
    pub(super) unanswered: Vec<(u64, u64)>,
}

impl Aside {
    /// A message has been taken by the last who listens, or nobody wanted it; an answer has come. `true`: it is time to
    /// tell the sender. A quarter of a window is worth a frame.
    pub(super) fn taken(&mut self, from: u64, class: Class, bytes: usize, window: u32) -> bool {
        let owed = self.owed.entry((from, class)).or_default();
        *owed += bytes;
        let is_due = *owed >= window as usize / 4;
        if is_due {
            let owed = std::mem::take(owed);
            self.due.push((from, class, owed));
        }
        is_due
    }

    /// Whoever asked is to be told that there will be no answer.
    pub(super) fn unanswered(&mut self, from: u64, request: u64) {
        self.unanswered.push((from, request));
    }

    /// There is nobody to give anything back to.
    pub(super) fn left(&mut self, from: u64) {
        for class in [Class::Message, Class::Answer] {
            self.owed.remove(&(from, class));
        }
    }

    /// What is to be told now.
    pub(super) fn told(&mut self) -> Told {
        Told {
            room: std::mem::take(&mut self.due),
            unanswered: std::mem::take(&mut self.unanswered),
        }
    }
}
