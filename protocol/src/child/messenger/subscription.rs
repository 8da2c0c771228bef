//! Messages of one topic, as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::Message;
use super::directory::Class;
use super::office::Office;

/// A message in a subscriber's queue, and the sender's room that it takes.
pub(super) type Delivery = (Message, Arc<Room>);

/// Messages of one topic, as they come. Dropped: nothing more comes.
///
/// What is not taken fills the senders' queues: after the setting `message_queue` they hear `Full`. So take what
/// comes, in a task of its own, or drop the subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(super) office: Arc<Office>,
    pub(super) topic: Box<str>,
    pub(super) number: u64,
    pub(super) deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Subscription {
    /// Waits for the next message. Cancel-safe. `None`: this process has lost its master.
    pub async fn next(&mut self) -> Option<Message> {
        let (message, _) = self.deliveries.recv().await?;
        Some(message)
    }

    /// The next message, if one is here.
    pub fn try_next(&mut self) -> Option<Message> {
        let (message, _) = self.deliveries.try_recv().ok()?;
        Some(message)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.deliveries
            .poll_recv(cx)
            .map(|delivery| delivery.map(|(message, _)| message))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.office.unsubscribe(&self.topic, self.number);
    }
}

/// Room of a sender's that is taken until this is dropped: until the last subscriber has the message.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) office: Arc<Office>,
    pub(super) from: u64,
    pub(super) bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.office.taken(self.from, Class::Message, self.bytes);
    }
}
