//! What a thread beside the control loop waits with: one place for its sockets and for orders, and the way back.
//!
//! - Orders come by a channel with a bell, so the control loop never waits for the thread.
//! - What the control loop is too busy to hear is told again: the thread never waits for it either.
//! - The thread ends when its [`Orders`] are dropped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc as channel};

use nix::sys::signal::SigSet;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::shell::Input;
use crate::supervisor::Event;

/// The bell, among the numbers that events are about.
pub(crate) const BELL: u64 = 0;

/// How many events one look takes at most.
const LOOK: usize = 256;

/// The control loop's end: what it says to the thread, which ends with this value.
#[derive(Debug)]
pub(crate) struct Orders<O> {
    /// There until this is dropped.
    channel: Option<channel::Sender<O>>,
    bell: Arc<OwnedFd>,
}

impl<O> Orders<O> {
    /// Never waits.
    pub(crate) fn give(&self, order: O) {
        // The thread outlives this value.
        let _ = self.channel.as_ref().map(|channel| channel.send(order));
        self.ring();
    }

    fn ring(&self) {
        // The counter can only be full, and then the thread is about to look.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

impl<O> Drop for Orders<O> {
    fn drop(&mut self) {
        self.channel = None;
        self.ring();
    }
}

/// The thread's end.
#[derive(Debug)]
pub(crate) struct Reactor<O> {
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    orders: channel::Receiver<O>,
    inputs: mpsc::Sender<Input>,
    /// What the control loop has to be told and was too busy for.
    untold: Vec<Event>,
}

impl<O> Reactor<O> {
    /// The two ends.
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> io::Result<(Orders<O>, Self)> {
        let (channel, orders) = channel::channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(BELL);
        epoll::add(&epoll, &bell, data, epoll::EventFlags::IN)?;
        let ours = Orders {
            channel: Some(channel),
            bell: Arc::clone(&bell),
        };
        let theirs = Self {
            epoll,
            bell,
            orders,
            inputs,
            untold: Vec::new(),
        };
        Ok((ours, theirs))
    }

    /// Where sockets are watched; their numbers are not [`BELL`].
    pub(crate) const fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Some descriptor that is always open.
    pub(crate) fn any(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Waits until something happens or, if there is a timeout, for so long. Orders are to be looked for after it,
    /// whatever it was: who is introduced by an order may speak before the bell is heard.
    pub(crate) fn wait(&self, ready: &mut Vec<epoll::Event>, timeout: Option<&Timespec>) {
        ready.clear();
        ready.reserve(LOOK);
        // It can only be interrupted, and then there is nothing to see.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(ready), timeout);
        // Silenced before the look for orders, so that what comes after the look rings again.
        if ready.iter().any(|event| event.data.u64() == BELL) {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
    }

    /// The next order, if there is one. `Disconnected`: the thread is to end.
    pub(crate) fn order(&self) -> Result<O, channel::TryRecvError> {
        self.orders.try_recv()
    }

    /// For the control loop, with the next [`tell`](Self::tell).
    pub(crate) fn report(&mut self, event: Event) {
        self.untold.push(event);
    }

    /// Tells the control loop what there is, in the order of the reports.
    pub(crate) fn tell(&mut self) {
        let room = |event: &&Event| {
            let told = self.inputs.try_send(Input::Happened((*event).clone()));
            !matches!(told, Err(TrySendError::Full(_)))
        };
        let told = self.untold.iter().take_while(room).count();
        self.untold.drain(..told);
    }

    /// Whether everything has been told.
    pub(crate) const fn is_settled(&self) -> bool {
        self.untold.is_empty()
    }
}

/// Starts the thread. Signals are the main thread's.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.into());
    thread.spawn(move || {
        let _ = SigSet::all().thread_block();
        run();
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_in_turn_and_their_end_is_heard() {
        let (inputs, _told) = mpsc::channel(1);
        let (orders, reactor) = Reactor::new(inputs).unwrap();
        let mut ready = Vec::new();
        orders.give(1);
        orders.give(2);
        reactor.wait(&mut ready, None);
        assert_eq!(reactor.order(), Ok(1));
        assert_eq!(reactor.order(), Ok(2));
        assert_eq!(reactor.order(), Err(channel::TryRecvError::Empty));
        let now = Timespec::default();
        reactor.wait(&mut ready, Some(&now));
        assert!(ready.is_empty(), "the bell goes on ringing");
        drop(orders);
        reactor.wait(&mut ready, None);
        assert_eq!(reactor.order(), Err(channel::TryRecvError::Disconnected));
    }

    #[test]
    fn what_the_control_loop_is_too_busy_for_is_told_again() {
        let (inputs, mut told) = mpsc::channel(1);
        let (_orders, mut reactor) = Reactor::<()>::new(inputs).unwrap();
        reactor.report(Event::Tick);
        reactor.report(Event::Tick);
        reactor.tell();
        assert!(!reactor.is_settled());
        assert!(told.try_recv().is_ok());
        reactor.tell();
        assert!(reactor.is_settled() && told.try_recv().is_ok());
    }
}
