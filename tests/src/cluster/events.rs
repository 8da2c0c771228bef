//! Waiting for what a cluster tells by its events.

use super::Cluster;
use crate::event::{Event, Step, names};
use crate::wait::{self, PATIENCE};

impl Cluster {
    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow_mut().refresh().to_vec()
    }

    /// How many events there were so far: a place to wait from.
    pub fn mark(&self) -> usize {
        self.events.borrow_mut().refresh().len()
    }

    /// Waits for an event; one that came already will do.
    #[track_caller]
    pub fn wait(&self, wanted: impl Into<Step>) -> Event {
        self.wait_nth(wanted, 1)
    }

    /// Waits for the n-th such event, counted from 1.
    #[track_caller]
    pub fn wait_nth(&self, wanted: impl Into<Step>, nth: usize) -> Event {
        let wanted = wanted.into();
        self.wait_among(&format!("{wanted} (number {nth})"), |events| {
            events
                .iter()
                .filter(|event| wanted.fits(event))
                .nth(nth - 1)
                .cloned()
        })
    }

    /// Waits for an event after a [`mark`](Self::mark).
    #[track_caller]
    pub fn wait_since(&self, mark: usize, wanted: impl Into<Step>) -> Event {
        let wanted = wanted.into();
        self.wait_among(&wanted.to_string(), |events| {
            events
                .iter()
                .skip(mark)
                .find(|event| wanted.fits(event))
                .cloned()
        })
    }

    /// Waits for the first event that satisfies `condition`.
    #[track_caller]
    pub fn wait_where(&self, what: &str, condition: impl Fn(&Event) -> bool) -> Event {
        self.wait_among(what, |events| {
            events.iter().find(|event| condition(event)).cloned()
        })
    }

    #[track_caller]
    fn wait_among<T>(&self, what: &str, mut look: impl FnMut(&[Event]) -> Option<T>) -> T {
        let mut over = false;
        let found = wait::until(PATIENCE, || {
            // First whether the master is gone, then a look: it may have written before it went.
            let gone = self.exit_status().is_some();
            match look(self.events.borrow_mut().refresh()) {
                Some(found) => Some(Some(found)),
                None if gone => {
                    over = true;
                    Some(None)
                }
                None => None,
            }
        });
        found.flatten().unwrap_or_else(|| {
            let why = if over {
                "the master is gone"
            } else {
                "time is over"
            };
            panic!(
                "{why}, and there was no {what} among {}",
                names(&self.events())
            )
        })
    }

    /// Waits for something that no event tells.
    #[track_caller]
    pub fn expect(&self, what: &str, condition: impl FnMut() -> bool) {
        wait::expect(what, condition);
    }
}
