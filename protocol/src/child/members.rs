//! Who else is ready, as far as the master has told.

use std::sync::Arc;

use tokio::sync::watch;

use crate::id::Slot;
use crate::message::Member;

/// The ready processes of the cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The agent's process id, while it is ready.
    pub agent: Option<u32>,
    /// The ready workers, in order of slot.
    pub workers: Vec<Member>,
}

impl Snapshot {
    /// Takes in who has come and who has gone. To hear of a change twice is to hear of it once.
    pub(super) fn change_workers(&mut self, up: &[Member], down: &[Slot]) {
        self.workers.retain(|worker| !down.contains(&worker.slot));
        for &member in up {
            let found = self
                .workers
                .binary_search_by_key(&member.slot, |worker| worker.slot);
            match found {
                Ok(at) => self.workers.splice(at..=at, [member]).for_each(drop),
                Err(at) => self.workers.insert(at, member),
            }
        }
    }
}

/// Who else is ready, now and from now on. Cheap to clone.
///
/// ```no_run
/// # async fn f(mut members: hatchery_protocol::child::Members) {
/// while members.changed().await {
///     println!("{} workers are ready", members.now().workers.len());
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Members {
    sender: Arc<watch::Sender<Snapshot>>,
    receiver: watch::Receiver<Snapshot>,
}

impl Members {
    pub(super) fn new(first: Snapshot) -> Self {
        let (sender, receiver) = watch::channel(first);
        Self {
            sender: Arc::new(sender),
            receiver,
        }
    }

    /// The newest news.
    pub fn now(&self) -> Snapshot {
        self.receiver.borrow().clone()
    }

    /// Waits until the news differ from what this handle has seen. Always `true` as long as the process
    /// lives; the value makes `while members.changed().await` read well.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }

    /// Replaces the news; who has seen the same before is not woken.
    pub(super) fn set(&self, newest: Snapshot) {
        self.sender.send_if_modified(|news| {
            let changed = *news != newest;
            *news = newest;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_taken_in_slot_by_slot_and_in_order() {
        let member = |slot, pid| Member { slot, pid };
        let mut news = Snapshot::default();
        for (up, down, expected) in [
            (vec![member(2, 12)], vec![], vec![member(2, 12)]),
            (
                vec![member(0, 10), member(3, 13)],
                vec![],
                vec![member(0, 10), member(2, 12), member(3, 13)],
            ),
            // Another process in the same slot.
            (
                vec![member(2, 22)],
                vec![0],
                vec![member(2, 22), member(3, 13)],
            ),
            // Heard twice, and of a slot that was never there.
            (
                vec![member(2, 22)],
                vec![0, 7],
                vec![member(2, 22), member(3, 13)],
            ),
            (vec![], vec![2, 3], vec![]),
        ] {
            news.change_workers(&up, &down);
            assert_eq!(news.workers, expected);
        }
    }
}
