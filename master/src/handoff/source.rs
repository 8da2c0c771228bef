//! A listening socket that the master accepts from, and how much it is asked for at a time.
//!
//! To find out that a queue is empty costs a system call, which is a tenth of all that the master does for one
//! connection. So a socket is asked for as many connections as there probably are: one at first, more when it
//! keeps giving as many as it was asked for.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hatchery_protocol::id::Slot;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::account::Connection;

/// How many connections one socket gives in one turn at most: others wait for theirs.
const TURN: usize = 64;
/// After how many full turns there are probably more.
const FULL_TURNS: u32 = 4;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) listener: u16,
    /// Whose socket it is. Only while the slot has no worker that reads, its clients are ours to accept.
    slot: Option<Slot>,
    socket: Arc<OwnedFd>,
    /// Whether a proxy says who its clients are, and it matters.
    pub(super) introduced: bool,
    watched: bool,
    /// How many connections it is asked for in one turn.
    turn: usize,
    /// How many turns in a row gave as many.
    full_turns: u32,
}

impl Source {
    pub(super) const fn new(
        listener: u16,
        slot: Option<Slot>,
        socket: Arc<OwnedFd>,
        introduced: bool,
    ) -> Self {
        Self {
            listener,
            slot,
            socket,
            introduced,
            watched: false,
            turn: 1,
            full_turns: 0,
        }
    }

    /// How many connections to ask for.
    pub(super) fn next_turn(&mut self) -> usize {
        self.full_turns += 1;
        if self.full_turns > FULL_TURNS {
            self.full_turns = 0;
            self.turn = (self.turn * 2).min(TURN);
        }
        self.turn
    }

    /// There were no more than so many.
    pub(super) fn gave_only(&mut self, accepted: usize) {
        self.turn = accepted.max(1);
        self.full_turns = 0;
    }

    /// Whether its clients are the master's to accept, while these slots look after their own.
    pub(super) fn is_ours(&self, held: &BTreeSet<Slot>) -> bool {
        self.slot.is_none_or(|slot| !held.contains(&slot))
    }

    pub(super) const fn is_watched(&self) -> bool {
        self.watched
    }

    /// Lets its clients wake the thread, as this event. (Edges would not do: a socket that is not looked at for
    /// lack of room has to be looked at later.)
    pub(super) fn watch(&mut self, epoll: &OwnedFd, token: u64) -> io::Result<()> {
        if !self.watched {
            let data = epoll::EventData::new_u64(token);
            epoll::add(epoll, &self.socket, data, epoll::EventFlags::IN)?;
            self.watched = true;
        }
        Ok(())
    }

    /// Lets its clients wait.
    pub(super) fn unwatch(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        if self.watched {
            epoll::delete(epoll, &self.socket)?;
            self.watched = false;
        }
        Ok(())
    }

    /// The next connection in its queue.
    pub(super) fn accept(&self) -> Result<Connection<OwnedFd>, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (it, client) = acceptfrom_with(&self.socket, flags)?;
        let client = client.and_then(|client| SocketAddr::try_from(client).ok());
        Ok(Connection {
            listener: self.listener,
            client: client.map(|client| IpAddr::to_canonical(&client.ip())),
            it,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_asked_for_as_many_as_there_probably_are() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut source = Source::new(0, None, Arc::new(socket.into()), false);
        let turns: Vec<usize> = (0..10).map(|_| source.next_turn()).collect();
        assert_eq!(turns, [1, 1, 1, 1, 2, 2, 2, 2, 2, 4]);
        source.gave_only(3);
        assert_eq!(source.next_turn(), 3);
        source.gave_only(0);
        assert_eq!(source.next_turn(), 1);
        let most = (0..1000).map(|_| source.next_turn()).max();
        assert_eq!(most, Some(TURN));
    }
}
