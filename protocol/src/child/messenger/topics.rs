//! Who in this process listens to what.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::subscription::{Delivery, Room};
use super::{Message, TopicError};
use crate::post::MAX_TOPIC;

#[derive(Debug)]
struct Subscriber {
    number: u64,
    deliveries: mpsc::UnboundedSender<Delivery>,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    subscribers: HashMap<Box<str>, Vec<Subscriber>>,
    last: u64,
}

impl Topics {
    /// A new subscriber's number, and where its messages come.
    pub(super) fn subscribe(&mut self, topic: &str) -> (u64, mpsc::UnboundedReceiver<Delivery>) {
        let (deliveries, receiver) = mpsc::unbounded_channel();
        self.last += 1;
        let number = self.last;
        let subscribers = self.subscribers.entry(topic.into()).or_default();
        subscribers.push(Subscriber { number, deliveries });
        (number, receiver)
    }

    pub(super) fn unsubscribe(&mut self, topic: &str, number: u64) {
        if let Some(subscribers) = self.subscribers.get_mut(topic) {
            subscribers.retain(|subscriber| subscriber.number != number);
            if subscribers.is_empty() {
                self.subscribers.remove(topic);
            }
        }
    }

    /// Gives a message to each subscriber. Dropped here for want of one, a question is answered so, and the room is
    /// given back.
    pub(super) fn deliver(&self, topic: &str, message: Message, room: Room) {
        let subscribers = self.subscribers.get(topic).map_or(&[][..], Vec::as_slice);
        let Some((last, others)) = subscribers.split_last() else {
            return;
        };
        let room = Arc::new(room);
        for subscriber in others {
            let message = Message {
                from: message.from,
                payload: message.payload.clone(),
                question: message.question.clone(),
            };
            // One that was dropped a moment ago.
            let _ = subscriber.deliveries.send((message, Arc::clone(&room)));
        }
        let _ = last.deliveries.send((message, room));
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self) {
        self.subscribers.clear();
    }
}

pub(super) fn check(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        length if length > MAX_TOPIC => Err(TopicError::TooLong(length)),
        _ => Ok(()),
    }
}
