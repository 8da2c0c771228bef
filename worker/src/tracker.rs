//! Every open connection, and the phase they all are in.
//!
//! A drain has to reach connections that are idle, half-way through a header, streaming, or upgraded and
//! long gone from the HTTP server's hands. So each is entered here when it is accepted and leaves when its
//! descriptor is closed: the [`Guard`] sits beside the stream and moves with it into an upgrade.
//!
//! A change of phase costs a walk over all connections; a request costs one relaxed load. Tasks leave
//! their waker here once instead of polling a channel on every turn.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use hatchery_protocol::child::gauge::{GaugeCells, Work};
use hatchery_protocol::clock::coarse;
use hatchery_protocol::diagnosis::RequestInFlight;
use slab::Slab;
use tokio::sync::Notify;

use crate::desk::Desk;
use crate::room::Place;

/// How far a drain has come. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Business as usual.
    Serving,
    /// Requests are answered, and clients are asked to leave with the answer.
    LameDuck,
    /// Idle connections close, busy ones close after what they are doing.
    Closing,
    /// Whatever is left is cut off.
    Aborted,
}

/// The open connections of this process.
#[derive(Debug)]
pub(crate) struct Tracker {
    phase: AtomicU8,
    /// How many requests a connection may bring.
    max_requests: Option<NonZeroU32>,
    gauges: Arc<GaugeCells>,
    open: Mutex<Slab<Arc<Connection>>>,
    emptied: Notify,
}

impl Tracker {
    /// With `max_requests`, a connection is spent after so many; 0 is no limit.
    pub(crate) fn new(gauges: Arc<GaugeCells>, max_requests: u32) -> Self {
        Self {
            max_requests: NonZeroU32::new(max_requests),
            phase: AtomicU8::new(Phase::Serving as u8),
            gauges,
            open: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Serving,
            1 => Phase::LameDuck,
            2 => Phase::Closing,
            _ => Phase::Aborted,
        }
    }

    /// Enters a phase and makes every connection look at it. An earlier phase is not gone back to.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Relaxed);
        // Whoever registers a waker from now on does so under this lock, and sees the phase after it.
        let wakers: Vec<Waker> = {
            let open = self.lock();
            open.iter().flat_map(|(_, c)| c.wakers()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Counts a connection in; it counts until the guard is dropped.
    pub(crate) fn track(self: &Arc<Self>, listener: usize, place: Place) -> Guard {
        let connection = Arc::new(Connection {
            tracker: Arc::clone(self),
            wakers: Mutex::default(),
            turn: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            header_begun: AtomicBool::new(true),
            request_over: AtomicBool::new(false),
            h2: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            desk: Desk::default(),
        });
        let key = self.lock().insert(Arc::clone(&connection));
        self.gauges.connection_opened(listener);
        Guard {
            key,
            connection,
            _place: place,
        }
    }

    /// Waits until no connection is open.
    pub(crate) async fn empty(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            // Before the look, so that an emptying between the look and the wait is not missed.
            emptied.as_mut().enable();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work for Tracker {
    fn requests(&self, most: usize) -> Vec<RequestInFlight> {
        let now = coarse();
        let mut requests = Vec::new();
        let keep_longest = |requests: &mut Vec<RequestInFlight>| {
            requests.sort_by_key(|request| std::cmp::Reverse(request.age));
            requests.truncate(most);
        };
        for (_, connection) in self.lock().iter() {
            connection.describe(now, &mut requests);
            // However many there are, they are never all in memory.
            if requests.len() > 8 * most {
                keep_longest(&mut requests);
            }
        }
        keep_longest(&mut requests);
        requests
    }
}

/// What the parts of one connection tell each other: its stream, its task and its service.
///
/// The flags are set and read by tasks that wake each other through the runtime or [`Self::wakers`],
/// so relaxed access is enough.
#[derive(Debug)]
pub(crate) struct Connection {
    tracker: Arc<Tracker>,
    wakers: Mutex<[Option<Waker>; 2]>,
    turn: AtomicU64,
    /// How many requests came. Written by the connection's own task only.
    requests: AtomicU32,
    /// Whether a part of a header is here. Written by the connection's own task only.
    header_begun: AtomicBool,
    /// Whether the body of the last request has been read, or will not be; of HTTP/1 only.
    request_over: AtomicBool,
    h2: AtomicBool,
    upgraded: AtomicBool,
    desk: Desk,
}

/// Whose turn it is on a connection, and since which event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The lower half counts the requests that are being answered, the upper half everything the server did.
    events: u64,
    header_begun: bool,
}

impl Turn {
    const REQUEST: u64 = 1;
    const EVENT: u64 = 1 << 32;

    /// Whether the client is to speak.
    pub(crate) const fn is_waiting(self) -> bool {
        self.events.is_multiple_of(Self::EVENT)
    }

    /// Whether the client may take its time: it owes the server nothing.
    pub(crate) const fn is_idle(self) -> bool {
        self.is_waiting() && !self.header_begun
    }
}

impl Default for Turn {
    /// That of a new connection: the client owes its first request.
    fn default() -> Self {
        Self {
            events: 0,
            header_begun: true,
        }
    }
}

/// Who waits. The halves of an upgraded stream may live in two tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The connection's own task, or whoever reads from the upgraded stream.
    Reader = 0,
    /// Whoever writes to the upgraded stream.
    Writer = 1,
}

impl Connection {
    pub(crate) fn phase(&self) -> Phase {
        self.tracker.phase()
    }

    /// Wakes this task at the next change of phase, and at all after it. To be called before the look at
    /// the phase, or a change in between is missed.
    pub(crate) fn watch(&self, who: Waiting, cx: &Context<'_>) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let [reader, writer] = &mut *wakers;
        let slot = match who {
            Waiting::Reader => reader,
            Waiting::Writer => writer,
        };
        match slot {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *slot = Some(cx.waker().clone()),
        }
    }

    fn wakers(&self) -> impl Iterator<Item = Waker> + use<> {
        let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.clone().into_iter().flatten()
    }

    /// What it is working on.
    pub(crate) const fn desk(&self) -> &Desk {
        &self.desk
    }

    fn describe(&self, now: Duration, requests: &mut Vec<RequestInFlight>) {
        // What lies on the desk of an HTTP/1 connection may be over.
        if !self.turn().is_waiting() {
            self.desk.describe(now, requests);
        }
    }

    /// Whose turn it is.
    pub(crate) fn turn(&self) -> Turn {
        Turn {
            events: self.turn.load(Relaxed),
            header_begun: self.header_begun.load(Relaxed),
        }
    }

    /// The client has written something.
    pub(crate) fn read(&self) {
        // Between requests it can only be the next header. (What comes while a request is answered may be
        // its body; a header that has begun by then is waited for as for one that has not.)
        if !self.is_h2() && self.turn().is_idle() {
            self.header_begun.store(true, Relaxed);
        }
    }

    /// The server has written something: it waits from now on.
    pub(crate) fn wrote(&self) {
        self.turn.fetch_add(Turn::EVENT, Relaxed);
    }

    /// A request's header is here.
    pub(crate) fn request_begun(&self) {
        // Plain loads and stores: nobody else writes these.
        let requests = self.requests.load(Relaxed);
        self.requests.store(requests.saturating_add(1), Relaxed);
        self.header_begun.store(false, Relaxed);
        self.request_over.store(false, Relaxed);
        self.turn.fetch_add(Turn::EVENT + Turn::REQUEST, Relaxed);
        self.tracker.gauges.request_begun();
    }

    /// Nothing more of the request is expected.
    pub(crate) fn request_over(&self) {
        self.request_over.store(true, Relaxed);
    }

    /// Whether all that is to come on this connection is an answer of the server's.
    pub(crate) fn owes_the_answer_only(&self) -> bool {
        self.request_over.load(Relaxed)
            && !self.turn().is_waiting()
            && !self.is_h2()
            && !self.is_upgraded()
    }

    /// A response is handed over whole, or given up.
    pub(crate) fn request_ended(&self) {
        // As many as begin come to an end, so nothing is borrowed from the upper half for good.
        self.turn.fetch_add(Turn::EVENT - Turn::REQUEST, Relaxed);
        self.tracker.gauges.request_ended();
    }

    /// Whether this is HTTP/2, or may be without a request so far: there the server speaks first.
    pub(crate) fn may_be_h2(&self) -> bool {
        self.is_h2() || (self.requests.load(Relaxed) == 0 && self.turn() != Turn::default())
    }

    /// Whether it has brought all the requests that it may.
    pub(crate) fn is_spent(&self) -> bool {
        let most = self.tracker.max_requests;
        most.is_some_and(|most| self.requests.load(Relaxed) >= most.get())
    }

    /// Whether an HTTP/2 request has come on this connection.
    pub(crate) fn is_h2(&self) -> bool {
        self.h2.load(Relaxed)
    }

    pub(crate) fn set_h2(&self) {
        self.h2.store(true, Relaxed);
    }

    /// Whether the stream may be in other hands than the connection's task.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    pub(crate) fn set_upgraded(&self) {
        self.upgraded.store(true, Relaxed);
    }
}

/// Keeps a connection counted. Lives beside its stream, wherever that goes.
#[derive(Debug)]
pub(crate) struct Guard {
    key: usize,
    connection: Arc<Connection>,
    _place: Place,
}

impl Guard {
    pub(crate) const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let tracker = &self.connection.tracker;
        let mut open = tracker.lock();
        open.try_remove(self.key);
        let is_last = open.is_empty();
        drop(open);
        tracker.gauges.connection_closed();
        if is_last {
            tracker.emptied.notify_waiters();
        }
    }
}
