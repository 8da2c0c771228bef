//! The post office of this process: what all handles share.
//!
//! No call here waits or does more I/O than to make a memory file: frames are left in the outbox, and the
//! [`courier`](super::courier) carries them. Two locks, each held for moments; the second is a leaf, so that it can be
//! taken wherever a message is dropped.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::directory::{Class, Directory, Route};
use super::subscription::Delivery;
use super::{
    Peer, PeerEvent, PeerEvents, Reach, Reply, ReplyError, RequestError, SendError, Subscription,
    Target, TopicError,
};
use crate::post::{
    Body, Frame, Head, Kind, Limits, MAX_FDS, MAX_INLINE, MAX_TOPIC, Outgoing, Packet, flag, sealed,
};

/// How many memory files may wait in this process.
const WAITING_FILES: usize = 4 * MAX_FDS;

/// A payload, ready to be sent.
#[derive(Debug, Clone)]
pub(super) enum Packed {
    Inline(Bytes),
    Large(Arc<OwnedFd>, u32),
}

impl Packed {
    fn body(&self) -> Body<'_> {
        match self {
            Self::Inline(bytes) => Body::Inline(bytes.as_ref()),
            Self::Large(_, length) => Body::Large(*length),
        }
    }

    fn file(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Inline(_) => None,
            Self::Large(file, _) => Some(Arc::clone(file)),
        }
    }
}

pub(super) type Answer = Result<Reply, RequestError>;

/// Somebody in this process waits for an answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// Who was asked; nobody yet before egg-ready.
    pub(super) asked: Option<Peer>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What waits for egg-ready.
#[derive(Debug)]
struct Early {
    target: Target,
    topic: Box<str>,
    payload: Packed,
    request: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    number: u64,
    pub(super) deliveries: mpsc::UnboundedSender<Delivery>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Until egg-ready: what was sent, in order.
    early: Option<VecDeque<Early>>,
    early_bytes: usize,
    pub(super) directory: Directory,
    outbox: Outgoing<Arc<OwnedFd>>,
    pub(super) pending: HashMap<u64, Pending>,
    /// Given out once: a late answer finds nothing.
    last_request: u64,
    pub(super) topics: HashMap<Box<str>, Vec<Subscriber>>,
    last_subscriber: u64,
    watchers: Vec<mpsc::UnboundedSender<PeerEvent>>,
    closed: bool,
}

/// What comes of messages that are taken or dropped, wherever that happens.
#[derive(Debug, Default)]
struct Aside {
    /// Room to be given back, once it is worth a frame.
    owed: HashMap<u64, usize>,
    due: Vec<(u64, usize)>,
    unanswered: Vec<(u64, u64)>,
}

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
        let state = State {
            early: Some(VecDeque::new()),
            early_bytes: 0,
            directory: Directory::new(me.seat, limits),
            outbox: Outgoing::default(),
            pending: HashMap::new(),
            last_request: 0,
            topics: HashMap::new(),
            last_subscriber: 0,
            watchers: Vec::new(),
            closed: false,
        };
        Self {
            limits,
            state: Mutex::new(state),
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

    /// Checks a payload, and puts a large one into a memory file.
    pub(super) fn pack(&self, payload: Bytes) -> Result<Packed, SendError> {
        let (size, limit) = (payload.len(), self.limits.max_message as usize);
        match u32::try_from(size) {
            Ok(length) if size <= limit => {
                if size <= MAX_INLINE {
                    return Ok(Packed::Inline(payload));
                }
                let file = sealed(&payload).map_err(SendError::Memory)?;
                Ok(Packed::Large(Arc::new(file), length))
            }
            _ => Err(SendError::TooLarge { size, limit }),
        }
    }

    pub(super) fn send(
        &self,
        target: Target,
        topic: &str,
        payload: &Packed,
    ) -> Result<Reach, SendError> {
        let sent = self.state().send(self.limits, target, topic, payload, None);
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
        let (sender, answer) = oneshot::channel();
        let mut state = self.state();
        state.last_request += 1;
        let request = state.last_request;
        let pending = Pending {
            asked: None,
            answer: sender,
        };
        state.pending.insert(request, pending);
        if let Err(error) = state.send(self.limits, target, topic, payload, Some(request)) {
            state.pending.remove(&request);
            return Err(error);
        }
        drop(state);
        self.bell.notify_one();
        Ok((request, answer))
    }

    /// Nobody waits for that answer any more.
    pub(super) fn forget(&self, request: u64) {
        self.state().pending.remove(&request);
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
        self.aside().unanswered.push((from, request));
        self.bell.notify_one();
    }

    /// The last subscriber has a message, or nobody wanted it.
    pub(super) fn taken(&self, from: u64, bytes: usize) {
        let mut aside = self.aside();
        let owed = aside.owed.entry(from).or_default();
        *owed += bytes;
        if *owed >= self.limits.window as usize / 4 {
            let owed = std::mem::take(owed);
            aside.due.push((from, owed));
            drop(aside);
            self.bell.notify_one();
        }
    }

    /// Waits until a message to everybody that the target means would be accepted.
    pub(super) async fn room(&self, target: Target) -> Result<(), SendError> {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if self.state().has_room(self.limits, target)? {
                return Ok(());
            }
            room.await;
        }
    }

    /// Everybody that a target means.
    pub(super) fn everybody(&self, target: Target) -> Result<Vec<Peer>, SendError> {
        let mut state = self.state();
        if state.closed {
            return Err(SendError::Closed);
        }
        let members = match state.directory.one(target) {
            Some(one) => vec![one?],
            None => state.directory.members(target),
        };
        if members.is_empty() {
            return Err(SendError::NoSuchPeer(target));
        }
        let peers = members.iter().filter_map(|one| state.directory.peer(*one));
        Ok(peers.collect())
    }

    pub(super) async fn opened(&self) {
        self.opened.cancelled().await;
    }

    pub(super) fn subscribe(self: &Arc<Self>, topic: &str) -> Result<Subscription, TopicError> {
        check_topic(topic)?;
        let (sender, deliveries) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.last_subscriber += 1;
        let number = state.last_subscriber;
        if !state.closed {
            let subscriber = Subscriber {
                number,
                deliveries: sender,
            };
            let subscribers = state.topics.entry(topic.into()).or_default();
            subscribers.push(subscriber);
        }
        Ok(Subscription {
            office: Arc::clone(self),
            topic: topic.into(),
            number,
            deliveries,
        })
    }

    pub(super) fn unsubscribe(&self, topic: &str, number: u64) {
        let mut state = self.state();
        if let Some(subscribers) = state.topics.get_mut(topic) {
            subscribers.retain(|subscriber| subscriber.number != number);
            if subscribers.is_empty() {
                state.topics.remove(topic);
            }
        }
    }

    pub(super) fn peer_events(&self) -> PeerEvents {
        let (sender, events) = mpsc::unbounded_channel();
        let mut state = self.state();
        for (peer, leaving) in state.directory.peers() {
            // The receiver is right here.
            let _ = sender.send(PeerEvent::Joined(peer));
            if leaving {
                let _ = sender.send(PeerEvent::Leaving(peer));
            }
        }
        if !state.closed {
            state.watchers.push(sender);
        }
        PeerEvents { events }
    }

    /// Everybody who was there when this process was told to begin is known.
    pub(super) fn open(&self, state: &mut State, joined: u64) {
        state.open(self.limits, joined);
        self.opened.cancel();
        self.room.notify_waiters();
    }

    pub(super) fn give_back(&self, state: &mut State, class: Class, peer: u64, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        state.directory.give_back(peer, class, bytes);
        self.room.notify_waiters();
    }

    /// Whoever waits for somebody who is gone need not wait.
    pub(super) fn left(&self, state: &mut State, incarnation: u64) {
        state.left(incarnation);
        self.aside().owed.remove(&incarnation);
        self.room.notify_waiters();
    }

    /// The master is gone, and everybody else with it.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.early = None;
        state.outbox = Outgoing::default();
        state.topics.clear();
        state.watchers.clear();
        state.directory.clear();
        for (_, pending) in state.pending.drain() {
            // Whoever asked may have stopped waiting.
            let _ = pending.answer.send(Err(SendError::Closed.into()));
        }
        drop(state);
        self.opened.cancel();
        self.room.notify_waiters();
    }

    /// Sends what waits, as far as it goes. `false`: `send` has said that there is no room.
    pub(super) fn flush<E>(
        &self,
        mut send: impl FnMut(&[u8], &[BorrowedFd<'_>]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut aside = self.aside();
        let due = std::mem::take(&mut aside.due);
        let unanswered = std::mem::take(&mut aside.unanswered);
        drop(aside);
        let mut state = self.state();
        let nothing = Packed::Inline(Bytes::new());
        for (from, bytes) in due {
            state.push(Kind::Room, 0, from, bytes as u64, "", &nothing);
        }
        for (from, request) in unanswered {
            state.push(Kind::Unanswered, 0, from, request, "", &nothing);
        }
        let had = state.outbox.bytes() > 0;
        while let Some(Packet { bytes, files, .. }) = state.outbox.front() {
            let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
            if !send(bytes, &files)? {
                return Ok(false);
            }
            state.outbox.sent();
        }
        drop(state);
        if had {
            self.room.notify_waiters();
        }
        Ok(true)
    }
}

impl State {
    fn send(
        &mut self,
        limits: Limits,
        target: Target,
        topic: &str,
        payload: &Packed,
        request: Option<u64>,
    ) -> Result<Reach, SendError> {
        check_topic(topic)?;
        if self.closed {
            return Err(SendError::Closed);
        }
        let one = match request {
            Some(_) => Some(self.directory.one(target).ok_or(SendError::Many(target))?),
            None => None,
        };
        let cost = limits.cost(topic.len(), payload.body().len());
        if let Some(early) = &mut self.early {
            if self.early_bytes >= limits.window as usize || early.len() >= WAITING_FILES * 64 {
                return Err(SendError::Full(target));
            }
            self.early_bytes += cost;
            early.push_back(Early {
                target,
                topic: topic.into(),
                payload: payload.clone(),
                request,
            });
            return Ok(Reach {
                kept: true,
                ..Reach::default()
            });
        }
        if self.is_full(limits) {
            return Err(SendError::Full(target));
        }
        // A random choice is made once.
        let resolved = match one {
            Some(one) => Target::Process(one?),
            None => target,
        };
        let route = self.directory.route(resolved, cost);
        let (addressees, reach) = match route {
            Ok(Route::Whole(to, reach)) => (vec![to.number()], reach),
            Ok(Route::Some(list, reach)) => (list, reach),
            Err(SendError::Full(_)) => return Err(SendError::Full(target)),
            Err(error) => return Err(error),
        };
        let (kind, id) = match request {
            Some(request) => (Kind::Request, request),
            None => (Kind::Message, self.directory.joined()),
        };
        for to in addressees {
            if let Some(pending) = request.and_then(|request| self.pending.get_mut(&request)) {
                pending.asked = self.directory.peer(to);
            }
            self.push(kind, 0, to, id, topic, payload);
        }
        Ok(reach)
    }

    /// Whether enough waits in this process already.
    fn is_full(&self, limits: Limits) -> bool {
        self.outbox.bytes() >= 2 * limits.window as usize || self.outbox.files() >= WAITING_FILES
    }

    fn push(&mut self, kind: Kind, flags: u8, peer: u64, id: u64, topic: &str, payload: &Packed) {
        if self.closed {
            return;
        }
        let frame = Frame {
            head: Head {
                kind,
                flags,
                peer,
                id,
            },
            topic: topic.as_bytes(),
            body: payload.body(),
        };
        self.outbox.push(&frame, payload.file(), None);
    }

    /// Gives room for an answer back at once: it has been taken.
    pub(super) fn answer_taken(&mut self, from: u64, bytes: usize) {
        let nothing = Packed::Inline(Bytes::new());
        self.push(Kind::Room, flag::ANSWER, from, bytes as u64, "", &nothing);
    }

    fn has_room(&mut self, limits: Limits, target: Target) -> Result<bool, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.early.is_some() {
            return Ok(self.early_bytes < limits.window as usize);
        }
        if self.is_full(limits) {
            return Ok(false);
        }
        if let Some(one) = self.directory.one(target) {
            let one = one?;
            return Ok(self.directory.has_room(one));
        }
        let members = self.directory.members(target);
        if members.is_empty() {
            return Err(SendError::NoSuchPeer(target));
        }
        Ok(members.iter().all(|one| self.directory.has_room(*one)))
    }

    pub(super) fn joined(&mut self, peer: Peer) {
        self.directory.join(peer);
        self.announce(PeerEvent::Joined(peer));
    }

    pub(super) fn leaving(&mut self, incarnation: u64) {
        if let Some(peer) = self.directory.leave(incarnation) {
            self.announce(PeerEvent::Leaving(peer));
        }
    }

    /// Who was asked will not answer.
    pub(super) fn no_answer(&mut self, peer: u64, request: u64) {
        let asked = self.pending.get(&request).and_then(|p| p.asked);
        let Some(asked) = asked.filter(|asked| asked.incarnation == peer) else {
            return;
        };
        if let Some(pending) = self.pending.remove(&request) {
            // Whoever asked may have stopped waiting.
            let _ = pending.answer.send(Err(RequestError::Unanswered(asked)));
        }
    }

    fn left(&mut self, incarnation: u64) {
        let Some(peer) = self.directory.left(incarnation) else {
            return;
        };
        let asked = |pending: &Pending| pending.asked == Some(peer);
        for (_, pending) in self.pending.extract_if(|_, pending| asked(pending)) {
            let _ = pending.answer.send(Err(RequestError::PeerGone(peer)));
        }
        self.announce(PeerEvent::Left(peer));
    }

    fn announce(&mut self, event: PeerEvent) {
        self.watchers.retain(|watcher| watcher.send(event).is_ok());
    }

    fn open(&mut self, limits: Limits, joined: u64) {
        self.directory.complete(joined);
        for early in self.early.take().into_iter().flatten() {
            let Early {
                target,
                topic,
                payload,
                request,
            } = early;
            let Err(error) = self.send(limits, target, &topic, &payload, request) else {
                continue;
            };
            if let Some(pending) = request.and_then(|request| self.pending.remove(&request)) {
                // Whoever asked may have stopped waiting.
                let _ = pending.answer.send(Err(error.into()));
            } else {
                tracing::debug!("a message sent before egg-ready is lost: {error}");
            }
        }
    }
}

fn check_topic(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        length if length > MAX_TOPIC => Err(TopicError::TooLong(length)),
        _ => Ok(()),
    }
}
