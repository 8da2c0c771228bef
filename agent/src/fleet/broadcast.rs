//! From one member to all, itself included, at most once.
//!
//! Nothing is kept for later: without a connection, or when too much is on its way, the sender is told so.
//! A message goes to Redis once and is never sent again by itself; the sender's own comes back the same way
//! as everybody's, so nobody hears it twice.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use hatchery_protocol::clock::monotonic;
use redis::cmd;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::envelope::{self, Header, Kind};
use super::message::{check_name, check_payload, encode};
use super::relay::Arrived;
use super::{Fleet, FleetError, FleetMessage, Inner, LARGEST_PAYLOAD, Subscription, room};

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
        self.inner()?.broadcast(topic, payload, false).await
    }

    /// Sends to everybody who listens on other hosts, and to nobody on this one: for what is told here by the
    /// messenger already. Returns how many members the message went out to.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_elsewhere<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        payload: &T,
    ) -> Result<u64, FleetError> {
        self.broadcast_elsewhere_bytes(topic, &encode(payload)?)
            .await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_elsewhere_bytes(
        &self,
        topic: &str,
        payload: &[u8],
    ) -> Result<u64, FleetError> {
        self.inner()?.broadcast(topic, payload, true).await
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
    pub(super) async fn broadcast(
        &self,
        topic: &str,
        payload: &[u8],
        elsewhere: bool,
    ) -> Result<u64, FleetError> {
        check_name(topic)?;
        check_payload(payload, LARGEST_PAYLOAD)?;
        let kind = Kind::Broadcast {
            topic: topic.to_owned(),
            number: self.broadcasts.fetch_add(1, Relaxed) + 1,
            elsewhere,
        };
        let reached = self.publish(&self.keys.everybody, kind, payload).await?;
        // Redis counts this member in.
        Ok(reached.saturating_sub(u64::from(elsewhere)))
    }

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
        counter.fetch_add(1, Relaxed);
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
            host: self.cluster,
            kind,
        };
        // Only a head can be too long for its length, and names are checked.
        let bytes = envelope::pack(&header, payload)
            .ok_or_else(|| FleetError::Payload("it has no head".to_owned()))?;
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
        let Some((header, payload)) = envelope::unpack(bytes) else {
            self.counters.unreadable.fetch_add(1, Relaxed);
            return;
        };
        let Header { from, host, kind } = header;
        match kind {
            Kind::Echo => {
                self.link.echoed.notify_one();
                return;
            }
            Kind::Broadcast {
                topic,
                number,
                elsewhere,
            } => {
                if elsewhere && host == self.cluster {
                    return;
                }
                let at = monotonic();
                let message = Arrived {
                    at,
                    from,
                    number,
                    topic,
                    payload: Bytes::copy_from_slice(payload),
                };
                let missed = self.relay.pass_on(&message);
                self.hub.missed.fetch_add(missed, Relaxed);
                let Arrived {
                    from,
                    topic,
                    payload,
                    ..
                } = message;
                let message = FleetMessage::new(from, topic.into(), payload, None);
                self.hub.deliver(&message, at);
            }
            Kind::Question {
                topic,
                number,
                within,
            } => self.be_asked(from, topic, number, within, payload),
            Kind::Answer { number } => {
                self.questions.answered(number, from, host, Some(payload));
            }
            Kind::Nobody { number } => self.questions.answered(number, from, host, None),
        }
        self.counters.received.fetch_add(1, Relaxed);
    }
}
