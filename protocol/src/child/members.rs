//! Who else is ready, as far as the master has told.

use std::sync::Arc;

use tokio::sync::watch;

use crate::message::Member;

/// The ready processes of the cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The agent's process id, while it is ready.
    pub agent: Option<u32>,
    /// The ready workers, in order of slot.
    pub workers: Vec<Member>,
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
