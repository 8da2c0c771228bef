//! A lease, in the hands of who wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::child::fleet::message::check_name;
use hatchery_protocol::clock;
use tokio::sync::watch;
use tokio::time::sleep;

use super::rules::Hold;
use super::task;
use crate::fleet::{Fleet, FleetError, Inner};

/// How many leases a process may contend for.
const MOST: usize = 1024;

/// The leases of this process.
#[derive(Debug)]
pub(in crate::fleet) struct Leases {
    /// How long a lease lasts without a word of its holder's.
    pub(super) length: Duration,
    open: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
}

impl Leases {
    pub(in crate::fleet) fn new(length: Duration) -> Self {
        Self {
            length,
            open: Arc::default(),
            held: Arc::default(),
        }
    }

    pub(in crate::fleet) fn held(&self) -> u64 {
        u64::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(u64::MAX)
    }
}

/// One contender for a lease, for as long as this lives. Dropping it gives the lease back; do so when the work is
/// over, not before.
#[derive(Debug)]
pub struct LeaseHandle {
    name: String,
    inner: Arc<Inner>,
    hold: watch::Receiver<Option<Hold>>,
    stop: CancellationToken,
    _open: Count,
}

/// One more while it lives.
#[derive(Debug)]
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn one_more(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fleet {
    /// Contends for the lease of this name, from now on, in the background. Whoever else does so under the same
    /// name, in this process too, is a rival.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotConfigured`], [`FleetError::Name`], [`FleetError::TooMany`]. A missing connection is none:
    /// the lease is held when it could be had.
    pub fn lease(&self, name: &str) -> Result<LeaseHandle, FleetError> {
        let inner = self.inner()?;
        check_name(name)?;
        let open = Count::one_more(&inner.leases.open);
        if inner.leases.open.load(Ordering::Relaxed) > MOST {
            return Err(FleetError::TooMany("leases"));
        }
        let (sender, hold) = watch::channel(None);
        let stop = CancellationToken::new();
        let counter = Arc::clone(&inner.leases.held);
        let contender = task::Contender::new(Arc::clone(inner), name, sender, counter);
        tokio::spawn(contender.run(stop.clone()));
        Ok(LeaseHandle {
            name: name.to_owned(),
            inner: Arc::clone(inner),
            hold,
            stop,
            _open: open,
        })
    }
}

impl LeaseHandle {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this process holds it at this moment.
    pub fn is_held(&self) -> bool {
        self.token().is_some()
    }

    /// The fencing token, while it is held: larger than that of every holder before.
    pub fn token(&self) -> Option<u64> {
        held_now(*self.hold.borrow()).map(|hold| hold.token)
    }

    /// Waits until it is held. Returns the token.
    pub async fn held(&self) -> u64 {
        let mut hold = self.hold.clone();
        loop {
            let now = held_now(*hold.borrow_and_update());
            if let Some(Hold { token, .. }) = now {
                return token;
            }
            if hold.changed().await.is_err() {
                // The contender has stopped, with the runtime it ran on.
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the lease of this token is held no more, which is before anybody else can hold it. At once, if
    /// it is not held now.
    pub async fn lost(&self, token: u64) {
        let mut hold = self.hold.clone();
        loop {
            let now = held_now(*hold.borrow_and_update()).filter(|hold| hold.token == token);
            let Some(Hold { until, .. }) = now else {
                return;
            };
            // The end comes by the clock, whether or not the contender finds the time to say so.
            let over = sleep(until.saturating_sub(clock::boottime()));
            tokio::pin!(over);
            tokio::select! {
                () = &mut over => {}
                changed = hold.changed() => if changed.is_err() {
                    return over.await;
                },
            }
        }
    }

    /// Gives it back, and waits until Redis knows or cannot be told. Another one can have it at once.
    pub async fn release(self) {
        self.give_back().await;
    }

    pub(crate) async fn give_back(&self) {
        self.stop.cancel();
        let mut hold = self.hold.clone();
        // The contender's last act is to drop its end.
        while hold.changed().await.is_ok() {}
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Drop for LeaseHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn held_now(hold: Option<Hold>) -> Option<Hold> {
    hold.filter(|hold| clock::boottime() < hold.until)
}
