//! Who listens to what in this process, and what waits for them.
//!
//! Each subscription has a queue that is bounded twice, in messages and in bytes. What does not fit is dropped
//! for that subscription alone, and counted: a slow listener costs nobody else anything.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::message::FleetMessage;
use super::{FleetError, room};
use crate::clock::monotonic;

/// How many messages wait for one subscription.
const QUEUE: usize = 1024;
/// How much they may be together.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// How many subscriptions a process may have.
const MOST: usize = 1024;

type Tell = Box<dyn Fn(&str, Option<Duration>) + Send + Sync>;

/// All subscriptions of this process.
#[derive(Default)]
pub struct Hub {
    topics: Mutex<Topics>,
    /// Told of the first listener of a topic, with the moment from which on it listens, and of the last one's end. It
    /// is told in order, so it must not call back.
    tell: Option<Tell>,
    /// What did not fit in somebody's queue, since the start.
    pub missed: AtomicU64,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
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
    since: Duration,
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
    /// One that tells which topics have listeners.
    pub fn telling(tell: impl Fn(&str, Option<Duration>) + Send + Sync + 'static) -> Self {
        Self {
            tell: Some(Box::new(tell)),
            ..Self::default()
        }
    }

    /// Listens to a topic from now on.
    ///
    /// # Errors
    ///
    /// [`FleetError::TooMany`].
    pub fn subscribe(self: &Arc<Self>, topic: &str) -> Result<Subscription, FleetError> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        let mut topics = self.topics();
        if topics.count >= MOST {
            return Err(FleetError::TooMany("subscriptions"));
        }
        topics.count += 1;
        topics.last += 1;
        let (number, since) = (topics.last, monotonic());
        let listeners = topics.listeners.entry(topic.to_owned()).or_default();
        let is_first = listeners.is_empty();
        listeners.push(Listener {
            number,
            since,
            queue: sender,
            room: Arc::new(Semaphore::new(room::places(QUEUE_BYTES))),
            missed: Arc::clone(&missed),
        });
        if is_first {
            self.tell(topic, Some(since));
        }
        drop(topics);
        Ok(Subscription {
            hub: Arc::clone(self),
            topic: topic.to_owned(),
            number,
            queue,
            missed,
        })
    }

    /// Hands a message to everybody who listened to its topic when it arrived on this host. Returns how many those
    /// are, with or without room.
    pub fn deliver(&self, message: &FleetMessage, arrived: Duration) -> usize {
        let topics = self.topics();
        let Some(listeners) = topics.listeners.get(message.topic()) else {
            return 0;
        };
        let meant = listeners.iter().filter(|l| l.since <= arrived);
        let mut count = 0;
        for listener in meant {
            count += 1;
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
        count
    }

    /// So many messages of a topic were lost on their way here.
    pub fn miss(&self, topic: &str, count: u64) {
        let topics = self.topics();
        for listener in topics.listeners.get(topic).into_iter().flatten() {
            listener.missed.fetch_add(count, Ordering::Relaxed);
            self.missed.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Tells once more that nobody listens to a topic, if that is so.
    pub fn tell_if_unheard(&self, topic: &str) {
        let topics = self.topics();
        if !topics.listeners.contains_key(topic) {
            self.tell(topic, None);
        }
    }

    /// Every topic that somebody listens to, and since when.
    pub fn listened(&self) -> Vec<(String, Duration)> {
        let topics = self.topics();
        let first = |listeners: &Vec<Listener>| listeners.iter().map(|l| l.since).min();
        let listened = topics.listeners.iter();
        listened
            .filter_map(|(topic, listeners)| Some((topic.clone(), first(listeners)?)))
            .collect()
    }

    fn tell(&self, topic: &str, since: Option<Duration>) {
        if let Some(tell) = &self.tell {
            tell(topic, since);
        }
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next message. Cancel-safe.
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

    /// How many messages found a queue full, and are lost.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let topic = std::mem::take(&mut self.topic);
        let mut topics = self.hub.topics();
        topics.count = topics.count.saturating_sub(1);
        if let Entry::Occupied(mut entry) = topics.listeners.entry(topic) {
            entry
                .get_mut()
                .retain(|listener| listener.number != self.number);
            if entry.get().is_empty() {
                let (topic, _) = entry.remove_entry();
                self.hub.tell(&topic, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemberId;
    use super::*;

    fn message(payload: &[u8]) -> FleetMessage {
        let payload = payload.to_vec().into();
        FleetMessage::new(MemberId("a".into()), "t".into(), payload, None)
    }

    #[tokio::test]
    async fn a_slow_listener_misses_and_another_does_not() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.subscribe("t").unwrap();
        let mut quick = hub.subscribe("t").unwrap();
        for number in 0..QUEUE + 5 {
            let message = message(&number.to_be_bytes());
            assert_eq!(hub.deliver(&message, monotonic()), 2);
            assert_eq!(quick.next().await.payload(), number.to_be_bytes());
        }
        assert_eq!((slow.missed(), quick.missed()), (5, 0));
        assert_eq!(slow.next().await.payload(), 0_usize.to_be_bytes());
        assert_eq!(hub.missed.load(Ordering::Relaxed), 5);
        hub.miss("t", 3);
        assert_eq!((slow.missed(), quick.missed()), (8, 3));
    }

    #[tokio::test]
    async fn large_messages_fill_a_queue_sooner() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.subscribe("t").unwrap();
        let large = message(&vec![0; 1024 * 1024]);
        for _ in 0..20 {
            hub.deliver(&large, monotonic());
        }
        assert!(slow.missed() >= 4, "{}", slow.missed());
        slow.next().await;
        let before = slow.missed();
        hub.deliver(&large, monotonic());
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
        assert_eq!(hub.deliver(&message(b""), monotonic()), 0);
        assert!(hub.topics().listeners.is_empty());
        hub.subscribe("t").unwrap();
    }

    #[tokio::test]
    async fn a_message_from_before_is_not_for_who_came_later() {
        let hub = Arc::new(Hub::default());
        let mut early = hub.subscribe("t").unwrap();
        let between = monotonic();
        while monotonic() == between {}
        let mut late = hub.subscribe("t").unwrap();
        assert_eq!(hub.deliver(&message(b"old"), between), 1);
        assert_eq!(hub.deliver(&message(b"new"), monotonic()), 2);
        assert_eq!(early.next().await.payload(), b"old");
        assert_eq!(early.next().await.payload(), b"new");
        assert_eq!(late.next().await.payload(), b"new");
    }

    #[test]
    fn the_first_listener_and_the_last_ones_end_are_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listening = Arc::clone(&told);
        let hub = Arc::new(Hub::telling(move |topic, since| {
            let said = (topic.to_owned(), since.is_some());
            listening.lock().unwrap().push(said);
        }));
        let first = hub.subscribe("t").unwrap();
        let second = hub.subscribe("t").unwrap();
        drop(first);
        hub.tell_if_unheard("t");
        assert_eq!(hub.listened().len(), 1);
        drop(second);
        hub.tell_if_unheard("t");
        let told = told.lock().unwrap();
        let said: Vec<bool> = told.iter().map(|(_, listened)| *listened).collect();
        assert_eq!(said, [true, false, false]);
        assert!(hub.listened().is_empty());
    }
}
