//! The thread that carries messages. It waits for packets, room and orders in one place, and after each wait
//! brings everything as far as it goes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc as channel};

use hatchery_protocol::id::ChildId;
use hatchery_protocol::post::{
    Body, Frames, Limits, MAX_PACKET, Packet, receive_packet, send_packet,
};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::Order;
use super::router::Router;
use crate::reactor::{BELL, Reactor};
use crate::supervisor::Event;

/// How many packets one child gives in one turn at most: others wait for theirs.
const TURN: usize = 4;
/// A packet that is shorter had room for more, so as like as not nothing waits behind it. The kernel tells if something does.
const LONG: usize = MAX_PACKET / 2;
/// How soon what the control loop had no room for is told again, and what the kernel had no memory for sent again.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

#[derive(Debug)]
struct Socket {
    child: ChildId,
    fd: OwnedFd,
    /// Whether it has no room, and is watched for that.
    full: bool,
    /// Whether its other end is closed, or was closed to it.
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Carrier {
    /// Where events are about incarnations, which count from 1.
    reactor: Reactor<Order>,
    router: Router<Arc<OwnedFd>>,
    sockets: BTreeMap<u64, Socket>,
    /// Whether the kernel has refused a packet for another reason than a full socket. Nobody tells when that is over.
    starved: bool,
    packet: Vec<u8>,
}

impl Carrier {
    pub(super) fn new(limits: Limits, reactor: Reactor<Order>) -> Self {
        Self {
            reactor,
            router: Router::new(limits),
            sockets: BTreeMap::new(),
            starved: false,
            packet: vec![0; MAX_PACKET],
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Vec::new();
        loop {
            let again = self.starved || !self.reactor.is_settled();
            self.reactor.wait(&mut ready, again.then_some(&RETRY));
            // Before any packet: who speaks was introduced before.
            if !self.take_orders() {
                return;
            }
            for event in &ready {
                let (flags, from) = (event.flags, event.data.u64());
                if flags.contains(epoll::EventFlags::OUT) {
                    self.set_full(from, false);
                }
                if from != BELL && flags != epoll::EventFlags::OUT {
                    self.take_turn(from);
                }
            }
            for child in self.router.unruly() {
                tracing::warn!("{child} sends more than others take: the rest is dropped");
            }
            self.starved = false;
            for to in self.router.addressed() {
                self.write(to);
            }
            self.reactor.tell();
        }
    }

    /// Follows what the control loop says. `false`: it is over.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.reactor.order() {
                Ok(Order::Join(child, socket)) => self.join(child, socket),
                Ok(Order::Hatch(children)) => self.router.hatch(&children),
                Ok(Order::Retire(child)) => self.router.retire(child),
                Ok(Order::Gone(child)) => self.gone(child),
                Err(channel::TryRecvError::Empty) => return true,
                Err(channel::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn join(&mut self, child: ChildId, fd: OwnedFd) {
        let data = epoll::EventData::new_u64(child.incarnation);
        if let Err(error) = epoll::add(self.reactor.epoll(), &fd, data, epoll::EventFlags::IN) {
            return self.complain(child, &format!("its post cannot be watched: {error}"));
        }
        self.router.join(child);
        let socket = Socket {
            child,
            fd,
            full: false,
            ended: false,
        };
        self.sockets.insert(child.incarnation, socket);
    }

    fn gone(&mut self, child: ChildId) {
        // Its last words are in the socket, and nothing can be added to them.
        while self.read(child.incarnation).is_some() {}
        self.end(child.incarnation);
        self.sockets.remove(&child.incarnation);
        self.router.gone(child);
    }

    /// Takes what a child says, up to a turn of it.
    fn take_turn(&mut self, from: u64) {
        for _ in 0..TURN {
            if self.read(from).is_none_or(|length| length < LONG) {
                return;
            }
        }
    }

    /// Takes a packet, and says how long it was. `None`: there is none.
    fn read(&mut self, from: u64) -> Option<usize> {
        let socket = self.sockets.get(&from).filter(|socket| !socket.ended)?;
        let child = socket.child;
        let mut files = Vec::new();
        let wrong = match receive_packet(&socket.fd, &mut self.packet, &mut files) {
            Ok(Some(length)) => {
                let bytes = self.packet.get(..length).unwrap_or_default();
                match route(&mut self.router, from, bytes, files) {
                    Ok(()) => return Some(length),
                    Err(error) => format!("its messages cannot be understood: {error}"),
                }
            }
            Ok(None) => {
                self.end(from);
                self.router.gone(child);
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.read(from),
            Err(error) => format!("its post failed: {error}"),
        };
        self.complain(child, &wrong);
        None
    }

    /// Sends what waits for a child, as far as there is room.
    fn write(&mut self, to: u64) {
        loop {
            let Some(socket) = self.sockets.get(&to).filter(|socket| !socket.full) else {
                return;
            };
            let Some(Packet { bytes, files, .. }) = self.router.front(to) else {
                return;
            };
            let sent = if socket.ended {
                Ok(())
            } else {
                let files: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
                send_packet(&socket.fd, bytes, &files)
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.set_full(to, true);
                }
                Err(error) if is_starved(&error) => {
                    self.starved = true;
                    return;
                }
                // Or it is gone, or about to be: whoever reads or waits for it says so.
                Ok(()) | Err(_) => self.router.sent(to),
            }
        }
    }

    fn set_full(&mut self, to: u64, full: bool) {
        let Some(socket) = self.sockets.get_mut(&to).filter(|socket| !socket.ended) else {
            return;
        };
        if std::mem::replace(&mut socket.full, full) == full {
            return;
        }
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, full);
        let data = epoll::EventData::new_u64(to);
        // It can fail for want of memory only, and then the next packet finds out.
        if epoll::modify(self.reactor.epoll(), &socket.fd, data, flags).is_err() {
            socket.full = false;
        }
    }

    fn end(&mut self, incarnation: u64) {
        if let Some(socket) = self.sockets.get_mut(&incarnation)
            && !std::mem::replace(&mut socket.ended, true)
        {
            socket.full = false;
            let _ = epoll::delete(self.reactor.epoll(), &socket.fd);
        }
    }

    /// A child that does not keep to the protocol is not heard any more, and the supervisor ends it.
    fn complain(&mut self, child: ChildId, reason: &str) {
        tracing::error!("{child}: {reason}");
        self.end(child.incarnation);
        self.router.gone(child);
        let reason = reason.to_owned();
        self.reactor.report(Event::LinkBroken { child, reason });
    }
}

/// No memory, or too many descriptors are under way (unix(7)).
fn is_starved(error: &io::Error) -> bool {
    let starved = [Errno::NOBUFS, Errno::NOMEM, Errno::TOOMANYREFS];
    Errno::from_io_error(error).is_some_and(|errno| starved.contains(&errno))
}

fn route(
    router: &mut Router<Arc<OwnedFd>>,
    from: u64,
    packet: &[u8],
    files: Vec<OwnedFd>,
) -> Result<(), hatchery_protocol::post::FrameError> {
    let mut files = files.into_iter().map(Arc::new);
    for frame in Frames::new(packet) {
        let frame = frame?;
        let file = match frame.body {
            Body::Inline(_) => None,
            Body::Large(_) => files.next(),
        };
        router.route(from, &frame, file.as_ref())?;
    }
    Ok(())
}
