//! How the fleet is, seen from one member.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::link::Current;
use super::{Fleet, FleetError};

/// How the fleet is, seen from one member. Counters begin with the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is none, or what Redis refuses although there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How often a connection was lost.
    pub losses: u64,
    /// Messages that Redis took.
    pub sent: u64,
    /// Messages that were not sent, or of which nobody knows.
    pub refused: u64,
    /// Messages that came, with this member's own.
    pub received: u64,
    /// Messages that found a listener's queue full.
    pub missed: u64,
    /// Messages of another version, or of somebody who has no business here.
    pub unreadable: u64,
    /// Leases that this member holds.
    pub leases: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) unreadable: AtomicU64,
    losses: AtomicU64,
    /// What Redis refuses although it is connected.
    trouble: Mutex<Option<FleetError>>,
}

impl Counters {
    pub(super) fn count_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_trouble(&self, trouble: Option<FleetError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map(ToString::to_string)
    }
}

impl Fleet {
    /// How the fleet is, seen from here; `None` without one.
    pub fn status(&self) -> Option<FleetStatus> {
        let inner = self.inner().ok()?;
        let (connected, trouble) = match &*inner.link.watch().borrow() {
            Current::Up(_) => (true, inner.counters.trouble()),
            Current::Down(reason) => (false, Some(reason.clone())),
        };
        let counters = &inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(FleetStatus {
            connected,
            trouble,
            losses: read(&counters.losses),
            sent: read(&counters.sent),
            refused: read(&counters.refused),
            received: read(&counters.received),
            missed: read(&inner.hub.missed),
            unreadable: read(&counters.unreadable),
            leases: inner.leases.held(),
        })
    }
}
