//! How many connections a worker may have open.
//!
//! A worker that is full stops accepting: connections wait in the kernel's queue, or go to another worker.
//! Room is taken before a connection is accepted, so that several listeners together keep the limit. The
//! master counts along, and hands over no more than there is room for.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The room that is left. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    places: Option<Arc<Semaphore>>,
    /// Rung with each place that becomes free, where somebody listens.
    freed: Option<Arc<Notify>>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    freed: Option<Arc<Notify>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(freed) = &self.freed {
            freed.notify_one();
        }
    }
}

impl Room {
    /// Room for so many connections; 0 is no limit.
    pub(crate) fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let places = || Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self {
            places: (most > 0).then(places),
            freed: None,
        }
    }

    /// Rings from now on when a connection is closed.
    pub(crate) fn bell(&mut self) -> Arc<Notify> {
        Arc::clone(self.freed.get_or_insert_default())
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Place {
        let permit = match &self.places {
            None => None,
            // It is never closed.
            Some(places) => Arc::clone(places).acquire_owned().await.ok(),
        };
        self.occupy(permit)
    }

    /// A place for a connection that is here already, also where there is none.
    pub(crate) fn squeeze_in(&self) -> Place {
        let places = self.places.as_ref();
        self.occupy(places.and_then(|places| Arc::clone(places).try_acquire_owned().ok()))
    }

    fn occupy(&self, permit: Option<OwnedSemaphorePermit>) -> Place {
        Place {
            _permit: permit,
            freed: self.freed.clone(),
        }
    }
}
