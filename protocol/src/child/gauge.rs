//! The counters a child keeps about itself; beats carry them to the master.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{millis, monotonic};
use crate::diagnosis::{Diagnosis, MOST_REQUESTS, RequestInFlight};
use crate::fleet::FleetLink;
use crate::message::Gauges;

/// Knows what the process is working on. Asked by the watch thread when the process seems to hang: an answer
/// may wait for locks that are held for a moment, and for nothing else; it opens nothing and wakes no task.
pub trait Work: std::fmt::Debug + Send + Sync {
    /// The requests that are being answered, the longest first, at most so many.
    fn requests(&self, most: usize) -> Vec<RequestInFlight>;
}

/// Counters that any thread may touch and the watch thread reads.
///
/// They are statistics: no other memory is ordered by them, so every access is relaxed.
#[derive(Debug)]
pub struct GaugeCells {
    runtime_seen_ms: AtomicU64,
    lag_ms: AtomicU64,
    connections: AtomicU64,
    requests: AtomicU64,
    ended: AtomicU64,
    accepted: Vec<AtomicU64>,
    work: OnceLock<Weak<dyn Work>>,
    /// Plain data, and no handle of the fleet's: the watch thread must not be the one to close its connections.
    fleet: Mutex<Option<FleetLink>>,
}

impl GaugeCells {
    /// Counters at 0, with one count of accepted connections for each of `listeners`.
    pub fn new(listeners: usize) -> Self {
        Self {
            runtime_seen_ms: AtomicU64::new(millis(monotonic())),
            lag_ms: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            accepted: (0..listeners).map(|_| AtomicU64::new(0)).collect(),
            work: OnceLock::new(),
            fleet: Mutex::new(None),
        }
    }

    /// A task ran on the runtime, `lag` later than it wanted to.
    pub(super) fn runtime_ran(&self, lag: Duration) {
        self.runtime_seen_ms.store(millis(monotonic()), Relaxed);
        self.lag_ms.store(millis(lag), Relaxed);
    }

    /// A connection came from the listener with this index.
    pub fn connection_opened(&self, listener: usize) {
        self.connections.fetch_add(1, Relaxed);
        if let Some(accepted) = self.accepted.get(listener) {
            accepted.fetch_add(1, Relaxed);
        }
    }

    /// A connection is closed for good, upgraded or not.
    pub fn connection_closed(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// A request begins.
    pub fn request_begun(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// A response is sent whole, or given up.
    pub fn request_ended(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Requests whose response is not sent whole.
    pub fn in_flight(&self) -> u64 {
        // One count less to keep for each request. Without an order between the two, an end may be seen
        // before its beginning.
        let ended = self.ended.load(Relaxed);
        self.requests.load(Relaxed).saturating_sub(ended)
    }

    /// Who knows what is being worked on. The first one counts.
    pub fn set_work(&self, work: Weak<dyn Work>) {
        let _ = self.work.set(work);
    }

    /// How the link to other hosts is now.
    pub fn set_fleet(&self, link: FleetLink) {
        *self.fleet.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }

    fn runtime_age(&self) -> Duration {
        let seen = Duration::from_millis(self.runtime_seen_ms.load(Relaxed));
        monotonic().saturating_sub(seen)
    }

    /// For a process that seems to hang, and runs `hook` at the moment.
    pub fn diagnose(&self, hook: Option<String>) -> Diagnosis {
        let work = self.work.get().and_then(Weak::upgrade);
        Diagnosis {
            runtime_age: self.runtime_age(),
            lag: Duration::from_millis(self.lag_ms.load(Relaxed)),
            hook,
            connections: self.connections(),
            in_flight: self.in_flight(),
            requests: work.map_or_else(Vec::new, |work| work.requests(MOST_REQUESTS)),
        }
    }

    pub(super) fn read(&self) -> Gauges {
        Gauges {
            runtime_age: self.runtime_age(),
            lag: Duration::from_millis(self.lag_ms.load(Relaxed)),
            connections: self.connections(),
            in_flight: self.in_flight(),
            requests: self.requests.load(Relaxed),
            accepted: self.accepted.iter().map(|n| n.load(Relaxed)).collect(),
            fleet: *self.fleet.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
