//! Who listens to what in this process, and what waits for them.
//!
//! Each subscription has a queue that is bounded twice, in messages and in bytes. What does not fit is dropped
//! for that subscription alone, and counted: a slow listener costs nobody else anything.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::message::FleetMessage;
use super::{FleetError, room};

/// How many messages wait for one subscription.
const QUEUE: usize = 1024;
/// How much they may be together.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// How many subscriptions a process may have.
const MOST: usize = 1024;

/// All subscriptions of this process.
#[derive(Debug, Default)]
pub(super) struct Hub {
    topics: Mutex<Topics>,
    /// What did not fit in somebody's queue, since the start.
    pub(super) missed: AtomicU64,
}

#[derive(Debug, Default)]
struct Topics {
    listeners: HashMap<String, Vec<Listener>>,
    count: usize,
    last: u64,
}

#[derive(Debug)]
struct Listener {
    number: u64,
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    missed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Waiting {
    message: FleetMessage,
    _room: OwnedSemaphorePermit,
}

/// What comes for one topic, from when it was subscribed. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    topic: String,
    number: u64,
    queue: mpsc::Receiver<Waiting>,
    missed: Arc<AtomicU64>,
}

impl Hub {
    pub(super) fn subscribe(self: &Arc<Self>, topic: &str) -> Result<Subscription, FleetError> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        let mut topics = self.topics();
        if topics.count >= MOST {
            return Err(FleetError::TooMany("subscriptions"));
        }
        topics.count += 1;
        topics.last += 1;
        let number = topics.last;
        topics
            .listeners
            .entry(topic.to_owned())
            .or_default()
            .push(Listener {
                number,
                queue: sender,
                room: Arc::new(Semaphore::new(room::places(QUEUE_BYTES))),
                missed: Arc::clone(&missed),
            });
        Ok(Subscription {
            hub: Arc::clone(self),
            topic: topic.to_owned(),
            number,
            queue,
            missed,
        })
    }

    /// Hands the message to everybody who listens to its topic. Returns how many those are, with or without room.
    pub(super) fn deliver(&self, message: &FleetMessage) -> usize {
        let topics = self.topics();
        let Some(listeners) = topics.listeners.get(message.topic()) else {
            return 0;
        };
        for listener in listeners {
            let room = room::take(&listener.room, message.payload().len());
            let queued = room.is_some_and(|room| {
                let message = message.clone();
                listener
                    .queue
                    .try_send(Waiting {
                        message,
                        _room: room,
                    })
                    .is_ok()
            });
            if !queued {
                listener.missed.fetch_add(1, Ordering::Relaxed);
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
        listeners.len()
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next message.
    pub async fn next(&mut self) -> FleetMessage {
        match self.queue.recv().await {
            Some(waiting) => waiting.message,
            // The sender is in the hub until this is dropped.
            None => std::future::pending().await,
        }
    }

    /// What is this about.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// How many messages found the queue full, and are lost.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.hub.topics();
        topics.count = topics.count.saturating_sub(1);
        if let Entry::Occupied(mut entry) = topics.listeners.entry(std::mem::take(&mut self.topic))
        {
            entry
                .get_mut()
                .retain(|listener| listener.number != self.number);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemberId;
    use super::*;

    fn message(payload: &[u8]) -> FleetMessage {
        FleetMessage::new(MemberId("a".into()), "t".into(), payload.into(), None)
    }

    #[tokio::test]
    async fn a_slow_listener_misses_and_another_does_not() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.subscribe("t").unwrap();
        let mut quick = hub.subscribe("t").unwrap();
        for number in 0..QUEUE + 5 {
            assert_eq!(hub.deliver(&message(&number.to_be_bytes())), 2);
            assert_eq!(quick.next().await.payload(), number.to_be_bytes());
        }
        assert_eq!((slow.missed(), quick.missed()), (5, 0));
        assert_eq!(slow.next().await.payload(), 0_usize.to_be_bytes());
        assert_eq!(hub.missed.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn large_messages_fill_a_queue_sooner() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.subscribe("t").unwrap();
        let large = message(&vec![0; 1024 * 1024]);
        for _ in 0..20 {
            hub.deliver(&large);
        }
        assert!(slow.missed() >= 4, "{}", slow.missed());
        slow.next().await;
        let before = slow.missed();
        hub.deliver(&large);
        assert_eq!(slow.missed(), before);
    }

    #[tokio::test]
    async fn nothing_is_left_of_who_went() {
        let hub = Arc::new(Hub::default());
        let subscriptions: Vec<_> = (0..MOST).map(|_| hub.subscribe("t").unwrap()).collect();
        assert_eq!(
            hub.subscribe("t").unwrap_err(),
            FleetError::TooMany("subscriptions")
        );
        drop(subscriptions);
        assert_eq!(hub.deliver(&message(b"")), 0);
        assert!(hub.topics().listeners.is_empty());
        hub.subscribe("t").unwrap();
    }
}
