//! How the fleet is, seen from one member.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hatchery_protocol::child::gauge::GaugeCells;
use hatchery_protocol::clock;
use hatchery_protocol::fleet::{FleetLink, FleetMessages, LinkState, LinkTrouble};
use serde::{Deserialize, Serialize};

use super::error::kind;
use super::link::Current;
use super::{Fleet, FleetError, Inner};

/// How often the master's copy of the status is renewed: as often as it is asked for.
const OFTEN: Duration = Duration::from_secs(1);

/// How the fleet is, seen from one member. Counters begin with the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// Whether there is a connection.
    pub connected: bool,
    /// Why there is none, or what Redis refuses although there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How often a connection was lost.
    pub losses: u64,
    /// Messages that Redis took.
    pub sent: u64,
    /// Messages that were not sent, or of which nobody knows.
    pub refused: u64,
    /// Messages that came, with this member's own.
    pub received: u64,
    /// Messages that found a listener's queue full.
    pub missed: u64,
    /// Messages of another version, or of somebody who has no business here.
    pub unreadable: u64,
    /// Leases that this member holds.
    pub leases: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) unreadable: AtomicU64,
    losses: AtomicU64,
    members: AtomicU64,
    state: Mutex<State>,
}

/// How things are, and since when.
#[derive(Debug, Default)]
struct State {
    connected: bool,
    /// On the clock that counts suspends.
    since: Duration,
    /// What Redis refuses although it is connected.
    refusal: Option<FleetError>,
    trouble: Option<LinkTrouble>,
    last_trouble: Option<LinkTrouble>,
}

impl State {
    fn set_trouble(&mut self, trouble: Option<LinkTrouble>) {
        self.trouble = trouble;
        self.last_trouble = trouble.or(self.last_trouble);
    }
}

impl Counters {
    /// To begin with there is no connection.
    pub(super) fn new() -> Self {
        let counters = Self::default();
        counters.state().since = clock::boottime();
        counters
    }

    pub(super) fn count_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_connected(&self) {
        let mut state = self.state();
        state.connected = true;
        state.since = clock::boottime();
        state.refusal = None;
        state.trouble = None;
    }

    pub(super) fn set_disconnected(&self, trouble: LinkTrouble) {
        let mut state = self.state();
        if state.connected {
            state.connected = false;
            state.since = clock::boottime();
        }
        state.set_trouble(Some(trouble));
    }

    /// What came of a sign of life, on a connection that there is.
    pub(super) fn set_seen(&self, seen: Result<u64, FleetError>) {
        let refusal = match seen {
            Ok(members) => {
                self.members.store(members, Ordering::Relaxed);
                None
            }
            Err(error) => Some(error),
        };
        let mut state = self.state();
        state.set_trouble(refusal.as_ref().map(kind));
        state.refusal = refusal;
    }

    fn trouble(&self) -> Option<String> {
        self.state().refusal.as_ref().map(ToString::to_string)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The same as [`FleetStatus`] without words, for the master.
    fn report(&self) -> FleetLink {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = counters.state();
        FleetLink {
            state: if state.connected {
                LinkState::Connected
            } else {
                LinkState::Connecting
            },
            since_ms: clock::millis(clock::boottime().saturating_sub(state.since)),
            trouble: state.trouble,
            last_trouble: state.last_trouble,
            members: read(&counters.members),
            leases: self.leases.held(),
            losses: read(&counters.losses),
            messages: FleetMessages {
                sent: read(&counters.sent),
                refused: read(&counters.refused),
                received: read(&counters.received),
                missed: read(&self.hub.missed),
                unreadable: read(&counters.unreadable),
            },
        }
    }
}

/// Keeps what the process's beats say about the link true, for as long as the process lives.
pub(crate) async fn report(fleet: Fleet, gauges: Arc<GaugeCells>) {
    let Ok(inner) = fleet.inner() else {
        return;
    };
    let mut link = inner.link.watch();
    loop {
        gauges.set_fleet(inner.report());
        tokio::select! {
            () = tokio::time::sleep(OFTEN) => {}
            changed = link.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

impl Fleet {
    /// How the fleet is, seen from here; `None` without one.
    pub fn status(&self) -> Option<FleetStatus> {
        let inner = self.inner().ok()?;
        let (connected, trouble) = match &*inner.link.watch().borrow() {
            Current::Up(_) => (true, inner.counters.trouble()),
            Current::Down(reason) => (false, Some(reason.clone())),
            Current::Left => (false, Some("this member has left".to_owned())),
        };
        let counters = &inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(FleetStatus {
            connected,
            trouble,
            losses: read(&counters.losses),
            sent: read(&counters.sent),
            refused: read(&counters.refused),
            received: read(&counters.received),
            missed: read(&inner.hub.missed),
            unreadable: read(&counters.unreadable),
            leases: inner.leases.held(),
        })
    }
}
