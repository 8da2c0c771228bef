//! Room for bytes, counted in places of four KiB: what bounds queues by size.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const PLACE: usize = 4096;

/// How many places so many bytes are.
pub const fn places(bytes: usize) -> usize {
    bytes / PLACE
}

/// Takes the room for a message of so many bytes, if there is so much. Every message takes some.
pub fn take(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let places = u32::try_from(1 + bytes / PLACE).ok()?;
    Arc::clone(room).try_acquire_many_owned(places).ok()
}
