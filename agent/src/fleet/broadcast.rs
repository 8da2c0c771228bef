//! From one member to all, itself included, at most once.
//!
//! Nothing is kept for later: without a connection, or when too much is on its way, the sender is told so.
//! A message goes to Redis once and is never sent again by itself; the sender's own comes back the same way
//! as everybody's, so nobody hears it twice.

use std::sync::Arc;

use redis::cmd;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::envelope::{self, Header, Kind};
use super::hub::Subscription;
use super::message::{check_name, check_payload, encode};
use super::{Fleet, FleetError, Inner, room};

impl Fleet {
    /// Sends to everybody who listens to the topic, on all hosts and on this one. Returns how many members the
    /// message went out to, whether somebody listens there or not.
    ///
    /// # Errors
    ///
    /// What keeps it from being sent, see [`FleetError`]. With [`FleetError::Unanswered`] it may have been.
    pub async fn broadcast<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        payload: &T,
    ) -> Result<u64, FleetError> {
        self.broadcast_bytes(topic, &encode(payload)?).await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_bytes(&self, topic: &str, payload: &[u8]) -> Result<u64, FleetError> {
        let inner = self.inner()?;
        check_name(topic)?;
        check_payload(payload)?;
        let kind = Kind::Broadcast {
            topic: topic.to_owned(),
        };
        inner.publish(&inner.keys.everybody, kind, payload).await
    }

    /// Listens to a topic, from now on.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotConfigured`], [`FleetError::Name`], [`FleetError::TooMany`]. A missing connection is none:
    /// messages come when there is one.
    pub fn subscribe(&self, topic: &str) -> Result<Subscription, FleetError> {
        let inner = self.inner()?;
        check_name(topic)?;
        inner.hub.subscribe(topic)
    }
}

impl Inner {
    /// Puts a message on a channel, and says to how many it went.
    pub(super) async fn publish(
        &self,
        channel: &str,
        kind: Kind,
        payload: &[u8],
    ) -> Result<u64, FleetError> {
        let sent = self.try_publish(channel, kind, payload).await;
        let counter = match &sent {
            Ok(_) => &self.counters.sent,
            Err(_) => &self.counters.refused,
        };
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        sent
    }

    async fn try_publish(
        &self,
        channel: &str,
        kind: Kind,
        payload: &[u8],
    ) -> Result<u64, FleetError> {
        let session = self.link.session()?;
        let _place = self.place_on_the_way(payload.len())?;
        let header = Header {
            from: self.me.clone(),
            kind,
        };
        let bytes =
            envelope::pack(&header, payload).ok_or(FleetError::TooLarge { len: payload.len() })?;
        session.ask(cmd("PUBLISH").arg(channel).arg(bytes)).await
    }

    /// What is on its way takes room until Redis has answered.
    pub(super) fn place_on_the_way(
        &self,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, FleetError> {
        room::take(&self.on_the_way, bytes).ok_or(FleetError::Busy)
    }

    /// Takes in what a channel brought.
    pub(super) fn receive(self: &Arc<Self>, bytes: &[u8]) {
        use std::sync::atomic::Ordering::Relaxed;
        let Some((header, payload)) = envelope::unpack(bytes) else {
            self.counters.unreadable.fetch_add(1, Relaxed);
            return;
        };
        match header.kind {
            Kind::Echo => {
                self.link.echoed.notify_one();
                return;
            }
            Kind::Broadcast { topic } => {
                let message =
                    super::FleetMessage::new(header.from, topic.into(), payload.into(), None);
                self.hub.deliver(&message);
            }
            Kind::Question { topic, number } => self.be_asked(header.from, topic, number, payload),
            Kind::Answer { number } => self.questions.answered(number, header.from, Some(payload)),
            Kind::Nobody { number } => self.questions.answered(number, header.from, None),
        }
        self.counters.received.fetch_add(1, Relaxed);
    }
}
