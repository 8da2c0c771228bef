//! Every worker accepts from one socket, as in Node's `SCHED_NONE`: no hop and no fairness.
//!
//! The kernel wakes whom it likes, so a worker may get much more than another. A worker that stops loses
//! nobody: what it does not accept, another one does.

use super::{Definition, Way};

pub(super) const STRATEGY: Definition = Definition {
    name: "shared",
    alias: Some("none"),
    way: Way::Shared,
    uses_weights: false,
    counts_connections: false,
    keeps_clients: false,
};
