//! How many connections a worker may have open.
//!
//! A worker that is full stops accepting: connections wait in the kernel's queue, or go to another worker.
//! There has to be a place before a connection is accepted, so that several listeners together keep the
//! limit. The master counts along, and hands over no more than there is room for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

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

    /// Waits for what `accept` gives, and lets it look only while there is a place. No place is kept
    /// meanwhile: of several listeners that wait, each would keep one from the others.
    pub(crate) async fn admit<T>(&self, accept: impl Future<Output = T>) -> (T, Place) {
        let Some(places) = &self.places else {
            return (accept.await, self.occupy(None));
        };
        let mut accept = pin!(accept);
        loop {
            // It is never closed.
            let permit = Arc::clone(places).acquire_owned().await.ok();
            let look = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx)));
            if let Poll::Ready(accepted) = look.await {
                return (accepted, self.occupy(permit));
            }
            drop(permit);
            woken().await;
        }
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

/// Waits until the task is woken, by whatever it waits for.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
