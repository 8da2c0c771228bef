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
use nix::sys::signal::SigSet;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::Order;
use super::router::Router;
use crate::shell::Input;
use crate::supervisor::Event;

/// How many packets one child gives in one turn at most: others wait for theirs.
const TURN: usize = 4;
/// The bell, among the incarnations that events are about.
const BELL: u64 = 0;
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
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    orders: channel::Receiver<Order>,
    inputs: mpsc::Sender<Input>,
    router: Router<Arc<OwnedFd>>,
    sockets: BTreeMap<u64, Socket>,
    /// Whether the kernel has refused a packet for another reason than a full socket. Nobody tells when that is over.
    starved: bool,
    /// What the control loop has to be told and was too busy for.
    untold: Vec<Event>,
    packet: Vec<u8>,
}

impl Carrier {
    pub(super) fn new(
        limits: Limits,
        orders: channel::Receiver<Order>,
        bell: Arc<OwnedFd>,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(BELL);
        epoll::add(&epoll, &bell, data, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            bell,
            orders,
            inputs,
            router: Router::new(limits),
            sockets: BTreeMap::new(),
            starved: false,
            untold: Vec::new(),
            packet: vec![0; MAX_PACKET],
        })
    }

    pub(super) fn run(mut self) {
        // Signals are the main thread's.
        let _ = SigSet::all().thread_block();
        let mut ready = Vec::with_capacity(256);
        loop {
            ready.clear();
            let again = self.starved || !self.untold.is_empty();
            let retry = again.then_some(&RETRY);
            // It can only be interrupted, and then there is nothing to see.
            let _ = epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut ready),
                retry,
            );
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
                    self.read(from, TURN);
                }
            }
            self.starved = false;
            for to in self.router.addressed() {
                self.write(to);
            }
            self.tell();
        }
    }

    /// Follows what the control loop says. `false`: it is over.
    fn take_orders(&mut self) -> bool {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        loop {
            match self.orders.try_recv() {
                Ok(Order::Join(child, socket)) => self.join(child, socket),
                Ok(Order::Hatch(children)) => self.router.hatch(&children),
                Ok(Order::Retire(child)) => self.router.retire(child),
                Ok(Order::Gone(child)) => self.gone(child),
                Err(channel::TryRecvError::Empty) => return true,
                Ok(Order::End) | Err(channel::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn join(&mut self, child: ChildId, fd: OwnedFd) {
        let data = epoll::EventData::new_u64(child.incarnation);
        if let Err(error) = epoll::add(&self.epoll, &fd, data, epoll::EventFlags::IN) {
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
        self.read(child.incarnation, usize::MAX);
        self.end(child.incarnation);
        self.sockets.remove(&child.incarnation);
        self.router.gone(child);
    }

    /// Takes what a child says.
    fn read(&mut self, from: u64, most: usize) {
        for _ in 0..most {
            let Some(socket) = self.sockets.get(&from).filter(|socket| !socket.ended) else {
                return;
            };
            let child = socket.child;
            let mut files = Vec::new();
            match receive_packet(&socket.fd, &mut self.packet, &mut files) {
                Ok(Some(length)) => {
                    let bytes = self.packet.get(..length).unwrap_or_default();
                    if let Err(error) = route(&mut self.router, from, bytes, files) {
                        let reason = format!("its messages cannot be understood: {error}");
                        return self.complain(child, &reason);
                    }
                }
                Ok(None) => {
                    self.end(from);
                    return self.router.gone(child);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.complain(child, &format!("its post failed: {error}")),
            }
        }
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
        if epoll::modify(&self.epoll, &socket.fd, data, flags).is_err() {
            socket.full = false;
        }
    }

    fn end(&mut self, incarnation: u64) {
        if let Some(socket) = self.sockets.get_mut(&incarnation)
            && !std::mem::replace(&mut socket.ended, true)
        {
            socket.full = false;
            let _ = epoll::delete(&self.epoll, &socket.fd);
        }
    }

    /// A child that does not keep to the protocol is not heard any more, and the supervisor ends it.
    fn complain(&mut self, child: ChildId, reason: &str) {
        tracing::error!("{child}: {reason}");
        self.end(child.incarnation);
        self.router.gone(child);
        let reason = reason.to_owned();
        self.untold.push(Event::LinkBroken { child, reason });
    }

    fn tell(&mut self) {
        let inputs = &self.inputs;
        let busy = |event: &Event| {
            let told = inputs.try_send(Input::Happened(event.clone()));
            matches!(told, Err(TrySendError::Full(_)))
        };
        self.untold.retain(busy);
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
