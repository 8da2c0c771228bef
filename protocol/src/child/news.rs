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
use crate::section::Section;
use crate::sys;

/// The newest news. Its locks are held for a copy at most, so that the watch thread never waits for long.
#[derive(Debug)]
pub(super) struct News {
    egg_ready: AtomicBool,
    stopping: AtomicBool,
    stand_down: AtomicBool,
    members: Mutex<Snapshot>,
    schedules: Mutex<VecDeque<ScheduleOrder>>,
    section: Mutex<Option<Section>>,
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
            section: Mutex::default(),
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

    /// Something about schedules. There is one for each schedule, each operator who waits and each run of the agent
    /// before, no more.
    pub(super) fn schedule(&self, order: ScheduleOrder) {
        self.schedules().push_back(order);
        self.ring();
    }

    /// The application's own configuration has changed.
    pub(super) fn configure(&self, section: Section) {
        *self.section() = Some(section);
        self.ring();
    }

    fn section(&self) -> MutexGuard<'_, Option<Section>> {
        self.section.lock().unwrap_or_else(PoisonError::into_inner)
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
        let section = self.section().take();
        if let Some(section) = section {
            shared.configured.offer(section);
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

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use serde_json::json;

    use super::super::link::LinkWriter;
    use super::super::schedules::ScheduleLink;
    use super::*;
    use crate::boot::Boot;
    use crate::message::Member;
    use crate::schedule::Command;

    fn shared() -> Arc<Shared> {
        let boot: Boot = serde_json::from_value(json!({
            "name": "app", "child": { "seat": "agent", "incarnation": 1 }, "generation": 1, "replaces": false,
            "settings": {
                "workers": 2, "threads": 1, "start_timeout_ms": 1000, "drain_timeout_ms": 1000, "lame_duck_ms": 1000,
                "orphan_grace_ms": 1000, "master_timeout_ms": 1000,
                "http": {
                    "header_timeout_ms": 1000, "idle_timeout_ms": 1000, "max_header_size": 8192,
                    "max_connections": 0, "max_requests_per_connection": 0,
                },
                "on_master_death": "drain", "log_format": "json", "log_level": "info",
            },
            "listeners": [], "workers": [],
        }))
        .unwrap();
        let (link, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let link = LinkWriter::new(link.into()).unwrap();
        Arc::new(Shared::new(&boot, link).unwrap())
    }

    fn order(number: u64) -> ScheduleOrder {
        ScheduleOrder::Asked {
            number,
            name: "report".into(),
            command: Command::Run,
        }
    }

    fn say_all_that_is_to_be_done(news: &News) {
        news.egg_ready();
        news.stand_down();
        news.stopping();
    }

    fn is_told_nothing_to_do(shared: &Shared) -> bool {
        let shutdown = &shared.shutdown;
        !shared.egg_ready.is_cancelled()
            && !shutdown.standing_down().is_cancelled()
            && !shutdown.announced().is_cancelled()
    }

    fn is_told_to_do_all(shared: &Shared) -> bool {
        let shutdown = &shared.shutdown;
        shared.egg_ready.is_cancelled()
            && shutdown.standing_down().is_cancelled()
            && shutdown.announced().is_cancelled()
    }

    fn wait_until(condition: impl Fn() -> bool) {
        while !condition() {
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Stops a look where it has seen who is there, and says more meanwhile: who is there, then to begin.
    #[test]
    fn who_is_told_to_begin_knows_who_was_there_before() {
        let shared = shared();
        let news = &shared.news;
        news.members(|members| members.agent = Some(1));
        thread::scope(|scope| {
            let held = news.schedules();
            let look = scope.spawn(|| news.look(&shared));
            wait_until(|| shared.members.now().agent == Some(1));
            news.members(|members| members.workers.push(Member { slot: 0, pid: 2 }));
            say_all_that_is_to_be_done(news);
            drop(held);
            look.join().unwrap();
        });
        assert!(shared.members.now().workers.is_empty());
        assert!(is_told_nothing_to_do(&shared));
        news.look(&shared);
        assert_eq!(shared.members.now().workers.len(), 1);
        assert!(is_told_to_do_all(&shared));
    }

    /// The same where it has taken the orders.
    #[test]
    fn who_is_told_to_begin_has_all_orders_from_before() {
        let shared = shared();
        let news = &shared.news;
        let mut orders = ScheduleLink::new(Arc::clone(&shared));
        news.schedule(order(1));
        thread::scope(|scope| {
            let held = shared.schedules.hold();
            let look = scope.spawn(|| news.look(&shared));
            wait_until(|| news.schedules().is_empty());
            news.schedule(order(2));
            say_all_that_is_to_be_done(news);
            drop(held);
            look.join().unwrap();
        });
        assert_eq!(orders.come(), Some(order(1)));
        assert_eq!(orders.come(), None);
        assert!(is_told_nothing_to_do(&shared));
        news.look(&shared);
        assert_eq!(orders.come(), Some(order(2)));
        assert!(is_told_to_do_all(&shared));
    }
}
