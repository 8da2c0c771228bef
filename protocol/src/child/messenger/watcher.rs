//! Changes of who is there, for one who watches.
//!
//! They wait until they are taken, and are bounded all the same: when many wait, those who came and went untaken are
//! left out. What is left tells of everybody who was known to the reader or is there, twice each at most.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::{Stream, StreamExt};

use super::PeerEvent;

/// How many may wait before it is looked who came and went.
const MANY: usize = 1024;

#[derive(Debug)]
struct Waiting {
    events: VecDeque<PeerEvent>,
    /// The smallest number that counts as many.
    many: usize,
    /// With more than these it is looked. Twice what was left last time: so a look at all is paid for by as many new ones.
    most: usize,
    closed: bool,
    reader: Option<Waker>,
}

impl Waiting {
    fn leave_out_who_came_and_went(&mut self) {
        let events = self.events.iter();
        let came = events.clone().filter_map(|event| match event {
            PeerEvent::Joined(peer) => Some(peer.incarnation),
            PeerEvent::Leaving(_) | PeerEvent::Left(_) => None,
        });
        let came: HashSet<u64> = came.collect();
        let went = events.filter_map(|event| match event {
            PeerEvent::Left(peer) => Some(peer.incarnation),
            PeerEvent::Joined(_) | PeerEvent::Leaving(_) => None,
        });
        let went: HashSet<u64> = went.filter(|one| came.contains(one)).collect();
        self.events
            .retain(|event| !went.contains(&event.peer().incarnation));
        self.most = self.many.max(2 * self.events.len());
    }
}

type Shared = Arc<Mutex<Waiting>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Waiting> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where changes are told. Dropped: nothing more comes.
#[derive(Debug)]
pub(super) struct Watcher(Shared);

/// Changes of who can be talked to, in order. The first ones are those who were there already.
///
/// Nobody has to hurry to take them. Only when more than 1,024 wait, those who came and went since the last one was taken
/// may be left out, with all that there is to tell of them.
#[derive(Debug)]
pub struct PeerEvents(Shared);

pub(super) fn watch() -> (Watcher, PeerEvents) {
    watch_by(MANY)
}

fn watch_by(many: usize) -> (Watcher, PeerEvents) {
    let shared = Arc::new(Mutex::new(Waiting {
        events: VecDeque::new(),
        many,
        most: many,
        closed: false,
        reader: None,
    }));
    (Watcher(Arc::clone(&shared)), PeerEvents(shared))
}

impl Watcher {
    pub(super) fn tell(&self, event: PeerEvent) {
        let mut waiting = lock(&self.0);
        waiting.events.push_back(event);
        if waiting.events.len() > waiting.most {
            waiting.leave_out_who_came_and_went();
        }
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether nobody can take anything any more.
    pub(super) fn is_unheard(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0);
        waiting.closed = true;
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl PeerEvents {
    /// Waits for the next one. Cancel-safe. `None`: this process has lost its master.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        StreamExt::next(self).await
    }
}

impl Stream for PeerEvents {
    type Item = PeerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        let mut waiting = lock(&self.0);
        match waiting.events.pop_front() {
            None if !waiting.closed => {
                waiting.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            last => Poll::Ready(last),
        }
    }
}

#[cfg(test)]
mod tests;
