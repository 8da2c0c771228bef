//! A socket for each slot: the kernel spreads clients over them by their addresses (`SO_REUSEPORT`,
//! socket(7)), so that no two workers ever meet.
//!
//! The master keeps all of them for life. Where a slot has no worker, its clients would wait in its queue:
//! those the master accepts itself and hands over to the other workers, in turn.

use super::round_robin::RoundRobin;
use super::{Choose, Definition, Way};

pub(super) const STRATEGY: Definition = Definition {
    name: "reuse-port",
    alias: None,
    way: Way::PerSlot,
    uses_weights: false,
    counts_connections: false,
    keeps_clients: false,
};

/// Who gets the clients of a slot that has no worker.
pub(crate) fn for_vacant_slots() -> Box<dyn Choose> {
    Box::<RoundRobin>::default()
}
