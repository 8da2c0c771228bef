//! How many connections a worker may have open.
//!
//! A worker that is full stops accepting: connections wait in the kernel's queue, or go to another worker.
//! Room is taken before a connection is accepted, so that several listeners together keep the limit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room that is left. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Option<Arc<Semaphore>>);

/// The place of one connection, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "it matters when it is dropped")] Option<OwnedSemaphorePermit>,
);

impl Room {
    /// Room for so many connections; 0 is no limit.
    pub(crate) fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self((most > 0).then(|| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))))
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Place {
        match &self.0 {
            None => Place::default(),
            // It is never closed.
            Some(places) => Place(Arc::clone(places).acquire_owned().await.ok()),
        }
    }
}
