//! What the watch thread has heard, on its way to the runtime.
//!
//! The watch thread wakes no task: a waker may write to a descriptor, and that thread has a table of
//! descriptors of its own (see [`super::watch`]). It leaves the newest state here and rings, and a task on
//! the runtime passes it on. There is no queue but for orders that somebody waits for, so a
//! runtime that is blocked for long costs no memory.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use tokio::task::JoinHandle;

use super::members::Snapshot;
use super::shared::Shared;
use crate::schedule::ScheduleOrder;
use crate::sys;

/// The newest news. Its locks are held for a copy at most, so that the watch thread never waits for long.
#[derive(Debug)]
pub(super) struct News {
    egg_ready: AtomicBool,
    stopping: AtomicBool,
    stand_down: AtomicBool,
    members: Mutex<Snapshot>,
    schedules: Mutex<VecDeque<ScheduleOrder>>,
    bell: OwnedFd,
}

impl News {
    pub(super) fn new(members: Snapshot) -> io::Result<Self> {
        Ok(Self {
            egg_ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stand_down: AtomicBool::new(false),
            members: Mutex::new(members),
            schedules: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Everyone is ready.
    pub(super) fn egg_ready(&self) {
        self.egg_ready.store(true, Release);
        self.ring();
    }

    /// A stop is to come.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Release);
        self.ring();
    }

    /// Another agent is about to take over.
    pub(super) fn stand_down(&self) {
        self.stand_down.store(true, Release);
        self.ring();
    }

    /// Somebody else has become ready, or has gone.
    pub(super) fn members(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.lock());
        self.ring();
    }

    /// Something about schedules. There is one for each schedule and for each operator who waits, no more.
    pub(super) fn schedule(&self, order: ScheduleOrder) {
        self.schedules().push_back(order);
        self.ring();
    }

    fn schedules(&self) -> MutexGuard<'_, VecDeque<ScheduleOrder>> {
        self.schedules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the task look, also at the order to leave.
    pub(super) fn ring(&self) {
        // The counter can only be full, and then the task is about to look.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Passes on what there is.
    ///
    /// What is to be done is looked at first: whoever is told to begin must find all that was said before that, and
    /// the rest of it may come between one look and the next.
    fn look(&self, shared: &Shared) {
        let egg_ready = self.egg_ready.load(Acquire);
        let stand_down = self.stand_down.load(Acquire);
        let stopping = self.stopping.load(Acquire);
        let newest = self.lock().clone();
        shared.members.set(newest);
        let orders = std::mem::take(&mut *self.schedules());
        for order in orders {
            shared.schedules.pass_on(order);
        }
        if egg_ready {
            shared.egg_ready.cancel();
        }
        if stand_down {
            shared.shutdown.standing_down().cancel();
        }
        if stopping {
            shared.shutdown.announce();
        }
        shared.shutdown.tell();
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the task that passes news on to those who wait for them.
///
/// # Errors
///
/// The runtime cannot watch the bell: out of memory, of descriptors, or of watches.
pub(super) fn pass_on(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let bell = sys::readable(shared.news.bell.try_clone()?)?;
    Ok(tokio::spawn(async move {
        // An error is the end of the runtime.
        while let Ok(mut rung) = bell.readable().await {
            // Silenced before the look, so that what comes after the look rings again.
            let _ = rustix::io::read(rung.get_inner(), &mut [0; 8]);
            rung.clear_ready();
            shared.news.look(&shared);
        }
    }))
}
