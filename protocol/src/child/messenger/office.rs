//! The post office of this process: what all handles share.
//!
//! No call here waits or does more I/O than to make a memory file: frames are left in the outbox, and the
//! [`courier`](super::courier) carries them. Two locks, each held for moments; the second is a leaf, so that it can be
//! taken wherever a message is dropped.

use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::aside::Aside;
use super::directory::Class;
use super::payload::Packed;
use super::requests::Answer;
use super::state::State;
use super::topics;
use super::{Peer, PeerEvents, Reach, ReplyError, SendError, Subscription, Target, TopicError};
use crate::post::{Kind, Limits};

#[derive(Debug)]
pub(crate) struct Office {
    pub(super) limits: Limits,
    state: Mutex<State>,
    aside: Mutex<Aside>,
    /// Rung when there is something for the courier.
    pub(super) bell: Notify,
    /// Rung when there may be room.
    room: Notify,
    /// Cancelled, so to speak, when it is known who is there.
    opened: CancellationToken,
    /// Cancelled when nothing more is to be sent than what waits.
    pub(super) finishing: CancellationToken,
    pub(super) me: Peer,
}

impl Office {
    pub(crate) fn new(me: Peer, limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::new(State::new(me, limits)),
            aside: Mutex::default(),
            bell: Notify::new(),
            room: Notify::new(),
            opened: CancellationToken::new(),
            finishing: CancellationToken::new(),
            me,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // For who sends.

    pub(super) fn send(
        &self,
        target: Target,
        topic: &str,
        payload: &Packed,
    ) -> Result<Reach, SendError> {
        let sent = self.state().send(target, topic, payload, None);
        self.bell.notify_one();
        sent
    }

    /// Sends a request. The number is for [`forget`](Self::forget).
    pub(super) fn ask(
        &self,
        target: Target,
        topic: &str,
        payload: &Packed,
    ) -> Result<(u64, oneshot::Receiver<Answer>), SendError> {
        let mut state = self.state();
        let (request, answer) = state.requests.begin();
        if let Err(error) = state.send(target, topic, payload, Some(request)) {
            state.requests.forget(request);
            return Err(error);
        }
        drop(state);
        self.bell.notify_one();
        Ok((request, answer))
    }

    /// Nobody waits for that answer any more.
    pub(super) fn forget(&self, request: u64) {
        self.state().forget(request);
    }

    /// Waits until a message to everybody that the target means would be accepted.
    pub(super) async fn room(&self, target: Target) -> Result<(), SendError> {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if self.state().has_room(target)? {
                return Ok(());
            }
            room.await;
        }
    }

    /// Everybody that a target means.
    pub(super) fn everybody(&self, target: Target) -> Result<Vec<Peer>, SendError> {
        self.state().everybody(target)
    }

    pub(super) async fn opened(&self) {
        self.opened.cancelled().await;
    }

    // For who receives.

    pub(super) fn subscribe(self: &Arc<Self>, topic: &str) -> Result<Subscription, TopicError> {
        topics::check(topic)?;
        let mut state = self.state();
        let (number, deliveries) = state.topics.subscribe(topic);
        if state.closed {
            state.topics.close();
        }
        drop(state);
        Ok(Subscription {
            office: Arc::clone(self),
            topic: topic.into(),
            number,
            deliveries,
        })
    }

    pub(super) fn unsubscribe(&self, topic: &str, number: u64) {
        self.state().topics.unsubscribe(topic, number);
    }

    pub(super) fn peer_events(&self) -> PeerEvents {
        self.state().watch()
    }

    /// Sends an answer as soon as there is room for it.
    pub(super) async fn answer(
        &self,
        kind: Kind,
        to: u64,
        request: u64,
        payload: &Packed,
    ) -> Result<(), ReplyError> {
        let cost = self.limits.cost(0, payload.body().len());
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            {
                let mut state = self.state();
                if state.closed {
                    return Err(SendError::Closed.into());
                }
                if state.directory.peer(to).is_none() {
                    return Err(ReplyError::Gone);
                }
                if state.directory.take(to, Class::Answer, cost) {
                    state.push(kind, 0, to, request, "", payload);
                    drop(state);
                    self.bell.notify_one();
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Whoever asked is told that there will be no answer.
    pub(super) fn unanswered(&self, from: u64, request: u64) {
        self.aside().unanswered(from, request);
        self.bell.notify_one();
    }

    /// The last subscriber has a message, or nobody wanted it; or an answer has come.
    pub(super) fn taken(&self, from: u64, class: Class, bytes: usize) {
        let is_due = self.aside().taken(from, class, bytes, self.limits.window);
        if is_due {
            self.bell.notify_one();
        }
    }

    // For the courier. What is heard may make room for who waits.

    pub(super) fn open(&self, state: &mut State, joined: u64) {
        state.open(joined);
        self.opened.cancel();
        self.room.notify_waiters();
    }

    pub(super) fn give_back(&self, state: &mut State, class: Class, peer: u64, bytes: u64) {
        state.give_back(class, peer, bytes);
        self.room.notify_waiters();
    }

    pub(super) fn left(&self, state: &mut State, incarnation: u64) {
        state.left(incarnation);
        self.aside().left(incarnation);
        self.room.notify_waiters();
    }

    /// The master is gone, and everybody else with it.
    pub(super) fn close(&self) {
        self.state().close();
        self.opened.cancel();
        self.room.notify_waiters();
    }

    /// Sends what waits, as far as it goes. `false`: `send` has said that there is no room.
    pub(super) fn flush<E>(
        &self,
        send: impl FnMut(&[u8], &[BorrowedFd<'_>]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let told = self.aside().told();
        let mut state = self.state();
        state.tell(told);
        if state.is_settled() {
            return Ok(true);
        }
        let settled = state.flush(send)?;
        drop(state);
        if settled {
            self.room.notify_waiters();
        }
        Ok(settled)
    }
}
