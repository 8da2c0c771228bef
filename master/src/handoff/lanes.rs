//! The lanes of all workers, and which of them wake the thread.
//!
//! A lane that is no longer watched is still there: what its worker has confirmed with its last breath is read
//! when the worker is gone.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use hatchery_protocol::id::ChildId;
use rustix::event::epoll;

use super::lane::Lane;

#[derive(Debug)]
pub(super) struct Lanes {
    /// With their numbers in events.
    all: BTreeMap<ChildId, (u64, Lane)>,
    /// Whose lane has which number in events; of those that are watched.
    watched: BTreeMap<u64, ChildId>,
    next: u64,
}

impl Lanes {
    /// None yet. Their numbers in events count from `first`, and no number is given twice.
    pub(super) const fn new(first: u64) -> Self {
        Self {
            all: BTreeMap::new(),
            watched: BTreeMap::new(),
            next: first,
        }
    }

    /// One more, to be watched from now on.
    pub(super) fn add(&mut self, epoll: &OwnedFd, child: ChildId, lane: Lane) -> io::Result<()> {
        let number = self.next;
        self.next += 1;
        let data = epoll::EventData::new_u64(number);
        epoll::add(epoll, &lane, data, epoll::EventFlags::IN)?;
        self.watched.insert(number, child);
        self.all.insert(child, (number, lane));
        Ok(())
    }

    /// It wakes nobody any more.
    pub(super) fn unwatch(&mut self, epoll: &OwnedFd, child: ChildId) {
        if let Some((number, lane)) = self.all.get(&child)
            && self.watched.remove(number).is_some()
        {
            let _ = epoll::delete(epoll, lane);
        }
    }

    pub(super) fn remove(&mut self, epoll: &OwnedFd, child: ChildId) {
        self.unwatch(epoll, child);
        self.all.remove(&child);
    }

    pub(super) fn get(&self, child: ChildId) -> Option<&Lane> {
        self.all.get(&child).map(|(_, lane)| lane)
    }

    /// Whose lane an event is about, if it is watched still.
    pub(super) fn child(&self, number: u64) -> Option<ChildId> {
        self.watched.get(&number).copied()
    }
}
