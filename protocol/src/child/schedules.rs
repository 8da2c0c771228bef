//! The agent's talk with the master about schedules, and what workers say of their runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::shared::Shared;
use crate::message::FromChild;
use crate::schedule::{RunEnd, ScheduleNews, ScheduleOrder};

/// What the master says, on its way to whoever minds schedules.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Option<mpsc::UnboundedSender<ScheduleOrder>>>);

impl Inbox {
    fn open(&self) -> mpsc::UnboundedReceiver<ScheduleOrder> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// For tests: nothing is passed on while this is held.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process that has no schedules drops it.
    pub(super) fn pass_on(&self, order: ScheduleOrder) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            let _ = sender.send(order);
        }
    }
}

/// Tells the master about schedules, and hears from it.
pub struct ScheduleLink {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<ScheduleOrder>,
}

impl ScheduleLink {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let orders = shared.schedules.open();
        Self { shared, orders }
    }

    /// What says it.
    pub fn voice(&self) -> ScheduleVoice {
        ScheduleVoice(Arc::clone(&self.shared))
    }

    /// The next that has come already. At egg-ready everything that an agent before told has come.
    pub fn come(&mut self) -> Option<ScheduleOrder> {
        self.orders.try_recv().ok()
    }

    /// Waits for the next.
    pub async fn next(&mut self) -> Option<ScheduleOrder> {
        self.orders.recv().await
    }
}

impl fmt::Debug for ScheduleLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScheduleLink(..)")
    }
}

/// Tells the master about schedules. Cheap to clone.
#[derive(Clone)]
pub struct ScheduleVoice(Arc<Shared>);

impl ScheduleVoice {
    /// Never waits: a master that does not read is about to be given up.
    pub fn say(&self, news: ScheduleNews) {
        self.0.link.send(&FromChild::Schedule(Box::new(news)));
    }
}

impl fmt::Debug for ScheduleVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScheduleVoice(..)")
    }
}

/// Tells the master of runs in this worker. Cheap to clone.
#[derive(Clone)]
pub struct RunVoice(Arc<Shared>);

impl RunVoice {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// A run is over. Never waits.
    pub fn ended(&self, end: RunEnd) {
        self.0.link.send(&FromChild::RunEnded(Box::new(end)));
    }
}

impl fmt::Debug for RunVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunVoice(..)")
    }
}
