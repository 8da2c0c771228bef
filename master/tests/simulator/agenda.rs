//! What is going to happen, in order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use hatchery_master::supervisor::Now;

/// Happenings by time; those of one moment in the order they were thought of.
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    written: u64,
}

struct Entry<T> {
    at: Now,
    order: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            written: 0,
        }
    }

    pub(crate) fn write(&mut self, at: Now, what: T) {
        self.written += 1;
        let order = self.written;
        self.heap.push(Reverse(Entry { at, order, what }));
    }

    pub(crate) fn next_at(&self) -> Option<Now> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    pub(crate) fn next(&mut self) -> Option<(Now, T)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.what))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}
