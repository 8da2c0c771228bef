//! What a worker may know about itself and its cluster.

use std::ops::Deref;

use hatchery_protocol::child::{Child, Context};
use hatchery_protocol::id::Slot;

/// Who this worker is, and how it hears of its cluster. Cheap to clone: handlers take their own.
///
/// Most is in the [`Context`] that it dereferences to.
#[derive(Debug, Clone)]
pub struct WorkerContext(Context);

impl WorkerContext {
    pub(crate) fn new(child: &Child) -> Self {
        Self(Context::new(child))
    }

    /// The worker's number, `0..N-1`. A replacement has the same one, so during a replacement there are
    /// two processes of it for a moment.
    pub fn slot(&self) -> Slot {
        // `Origin::boot` refuses a seat of another role, so a worker always has a slot.
        self.0.seat().slot().unwrap_or_default()
    }
}

impl Deref for WorkerContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.0
    }
}
