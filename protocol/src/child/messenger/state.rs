//! What all handles of a process share under one lock: whom a message goes to, and what waits to be sent.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::aside::Told;
use super::directory::{Class, Directory, Route};
use super::early::{Early, Kept};
use super::payload::Packed;
use super::requests::Requests;
use super::topics::{self, Topics};
use super::watcher::{Watcher, watch};
use super::{Peer, PeerEvent, PeerEvents, Reach, SendError, Target};
use crate::post::{Frame, Head, Kind, Limits, MAX_FDS, Outgoing, Packet, flag};

/// How many memory files may wait in this process.
const WAITING_FILES: usize = 4 * MAX_FDS;

#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    /// Until egg-ready.
    early: Option<Early>,
    pub(super) directory: Directory,
    outbox: Outgoing<Arc<OwnedFd>>,
    pub(super) requests: Requests,
    pub(super) topics: Topics,
    watchers: Vec<Watcher>,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn new(me: Peer, limits: Limits) -> Self {
        Self {
            limits,
            early: Some(Early::default()),
            directory: Directory::new(me.seat, limits),
            outbox: Outgoing::default(),
            requests: Requests::default(),
            topics: Topics::default(),
            watchers: Vec::new(),
            closed: false,
        }
    }

    // What is sent.

    /// Sends a message, or the request of that number.
    pub(super) fn send(
        &mut self,
        target: Target,
        topic: &str,
        payload: &Packed,
        request: Option<u64>,
    ) -> Result<Reach, SendError> {
        topics::check(topic)?;
        if self.closed {
            return Err(SendError::Closed);
        }
        let one = match request {
            Some(_) => Some(self.directory.one(target).ok_or(SendError::Many(target))?),
            None => None,
        };
        let cost = self.limits.cost(topic.len(), payload.body().len());
        if let Some(early) = &mut self.early {
            if !early.has_room(self.limits) {
                return Err(SendError::Full(target));
            }
            let message = Kept {
                target,
                topic: topic.into(),
                payload: payload.clone(),
                request,
                cost,
            };
            early.keep(message);
            return Ok(Reach {
                kept: true,
                ..Reach::default()
            });
        }
        if self.is_full() {
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
            if let Some(request) = request {
                self.requests.sent(request, self.directory.peer(to));
            }
            self.push(kind, 0, to, id, topic, payload);
        }
        Ok(reach)
    }

    /// Nobody waits for that answer any more. What has not left this process never does.
    pub(super) fn forget(&mut self, request: u64) {
        self.requests.forget(request);
        if let Some(early) = &mut self.early {
            early.withdraw(request);
        }
    }

    /// Whether enough waits in this process already.
    fn is_full(&self) -> bool {
        let most = 2 * self.limits.window as usize;
        self.outbox.bytes() >= most || self.outbox.files() >= WAITING_FILES
    }

    pub(super) fn has_room(&mut self, target: Target) -> Result<bool, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if let Some(early) = &self.early {
            return Ok(early.has_room(self.limits));
        }
        if self.is_full() {
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

    /// Everybody that a target means.
    pub(super) fn everybody(&mut self, target: Target) -> Result<Vec<Peer>, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let members = match self.directory.one(target) {
            Some(one) => vec![one?],
            None => self.directory.members(target),
        };
        if members.is_empty() {
            return Err(SendError::NoSuchPeer(target));
        }
        let peers = members.iter().filter_map(|one| self.directory.peer(*one));
        Ok(peers.collect())
    }

    // What waits for the socket.

    pub(super) fn push(
        &mut self,
        kind: Kind,
        flags: u8,
        peer: u64,
        id: u64,
        topic: &str,
        payload: &Packed,
    ) {
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

    pub(super) fn tell(&mut self, told: Told) {
        for (from, class, bytes) in told.room {
            let flags = match class {
                Class::Message => 0,
                Class::Answer => flag::ANSWER,
            };
            self.push(Kind::Room, flags, from, bytes as u64, "", &Packed::NOTHING);
        }
        for (from, request) in told.unanswered {
            self.push(Kind::Unanswered, 0, from, request, "", &Packed::NOTHING);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_settled(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Sends what waits, as far as it goes. `false`: `send` has said that there is no room.
    pub(super) fn flush<E>(
        &mut self,
        mut send: impl FnMut(&[u8], &[BorrowedFd<'_>]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        while let Some(Packet { bytes, files, .. }) = self.outbox.front() {
            let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
            if !send(bytes, &files)? {
                return Ok(false);
            }
            self.outbox.sent();
        }
        Ok(true)
    }

    // Who is there.

    /// What is heard of who comes and goes, from who is there now on.
    pub(super) fn watch(&mut self) -> PeerEvents {
        let (watcher, events) = watch();
        for (peer, leaving) in self.directory.peers() {
            watcher.tell(PeerEvent::Joined(peer));
            if leaving {
                watcher.tell(PeerEvent::Leaving(peer));
            }
        }
        self.watchers.retain(|watcher| !watcher.is_unheard());
        if !self.closed {
            self.watchers.push(watcher);
        }
        events
    }

    fn announce(&mut self, event: PeerEvent) {
        self.watchers.retain(|watcher| !watcher.is_unheard());
        for watcher in &self.watchers {
            watcher.tell(event);
        }
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

    /// Whoever waits for somebody who is gone need not wait.
    pub(super) fn left(&mut self, incarnation: u64) {
        if let Some(peer) = self.directory.left(incarnation) {
            self.requests.left(peer);
            self.announce(PeerEvent::Left(peer));
        }
    }

    /// Everybody who was there when this process was told to begin is known: what was kept is sent.
    pub(super) fn open(&mut self, joined: u64) {
        self.directory.complete(joined);
        for kept in self.early.take().into_iter().flatten() {
            let Err(error) = self.send(kept.target, &kept.topic, &kept.payload, kept.request)
            else {
                continue;
            };
            if let Some(request) = kept.request {
                self.requests.fail(request, error);
            } else {
                tracing::debug!("a message sent before egg-ready is lost: {error}");
            }
        }
    }

    pub(super) fn give_back(&mut self, class: Class, peer: u64, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.directory.give_back(peer, class, bytes);
    }

    /// The master is gone, and everybody else with it.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.early = None;
        self.outbox = Outgoing::default();
        self.topics.close();
        self.watchers.clear();
        self.directory.clear();
        self.requests.close();
    }
}
