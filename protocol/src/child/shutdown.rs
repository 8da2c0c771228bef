//! The order to leave: when it came, why, and until when; and the announcement that it is to come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a child drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainCause {
    /// The master asked over the link.
    Asked,
    /// Somebody sent `SIGTERM` from outside.
    Signal,
    /// A hook failed after readiness.
    HookFailed,
    /// The master is gone.
    MasterLost,
}

/// An order to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draining {
    /// Why.
    pub cause: DrainCause,
    /// Until when, on the clock of [`crate::clock::monotonic`].
    pub deadline: Duration,
}

/// Tells a process that it is to leave. Cheap to clone.
///
/// [`token`](Self::token) is for handlers: streams and WebSockets watch it and say goodbye. It is
/// cancelled when clients have been asked to leave and those still connected have to.
#[derive(Debug, Clone)]
pub struct Shutdown {
    order: Arc<Mutex<Option<Draining>>>,
    /// Carries nothing: whoever is woken looks at `order`.
    told: Arc<watch::Sender<()>>,
    announced: CancellationToken,
    standing_down: CancellationToken,
    token: CancellationToken,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            order: Arc::default(),
            told: Arc::new(watch::channel(()).0),
            announced: CancellationToken::new(),
            standing_down: CancellationToken::new(),
            token: CancellationToken::new(),
        }
    }
}

impl Shutdown {
    /// No order yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when open-ended work (streams, WebSockets, loops of the agent) has to end.
    pub const fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Cancelled when it is known that the process is to leave: with the order, or some time before.
    pub const fn announced(&self) -> &CancellationToken {
        &self.announced
    }

    /// Cancelled when what may run only once has to end here, because another process is about to run it.
    pub const fn standing_down(&self) -> &CancellationToken {
        &self.standing_down
    }

    /// Makes known that the order is to come.
    pub(super) fn announce(&self) {
        self.announced.cancel();
    }

    /// The order, if it came.
    pub fn order(&self) -> Option<Draining> {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the order.
    pub async fn ordered(&self) -> Draining {
        self.newer_than(None).await
    }

    /// Waits until an order that came already is brought forward or changes its cause.
    pub async fn hastened(&self, known: Draining) -> Draining {
        self.newer_than(Some(known)).await
    }

    async fn newer_than(&self, known: Option<Draining>) -> Draining {
        let mut told = self.told.subscribe();
        loop {
            // Seen before the look, so that an order between the look and the wait is not missed.
            told.borrow_and_update();
            if let Some(draining) = self.order()
                && known != Some(draining)
            {
                return draining;
            }
            if told.changed().await.is_err() {
                // Unreachable while `self` holds the sender; to wait is right all the same.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the order. A later one can only bring the deadline forward; a lost master stays lost.
    pub fn give(&self, cause: DrainCause, deadline: Duration) {
        self.set(cause, deadline);
        self.tell();
    }

    /// Gives the order without waking those who wait for it: that is left to [`Self::tell`].
    pub(super) fn set(&self, cause: DrainCause, deadline: Duration) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        *order = Some(match *order {
            None => Draining { cause, deadline },
            Some(old) => Draining {
                cause: if cause == DrainCause::MasterLost {
                    cause
                } else {
                    old.cause
                },
                deadline: old.deadline.min(deadline),
            },
        });
    }

    /// Wakes those who wait for an order.
    pub(super) fn tell(&self) {
        if self.order().is_some() {
            self.announce();
            self.standing_down.cancel();
        }
        self.told.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_order_is_an_announcement_and_not_the_reverse() {
        let shutdown = Shutdown::new();
        shutdown.tell();
        assert!(!shutdown.announced().is_cancelled());
        shutdown.announce();
        assert!(shutdown.announced().is_cancelled());
        assert_eq!(shutdown.order(), None);
        let shutdown = Shutdown::new();
        shutdown.give(DrainCause::Signal, s(1));
        assert!(shutdown.announced().is_cancelled());
        assert!(!shutdown.token().is_cancelled());
    }

    #[test]
    fn orders_only_ever_become_stricter() {
        let cases = [
            // (orders given, what holds)
            (vec![(DrainCause::Asked, s(30))], (DrainCause::Asked, s(30))),
            (
                vec![(DrainCause::Asked, s(30)), (DrainCause::Asked, s(40))],
                (DrainCause::Asked, s(30)),
            ),
            (
                vec![(DrainCause::Asked, s(30)), (DrainCause::MasterLost, s(5))],
                (DrainCause::MasterLost, s(5)),
            ),
            (
                vec![(DrainCause::MasterLost, s(5)), (DrainCause::Signal, s(30))],
                (DrainCause::MasterLost, s(5)),
            ),
            (
                vec![(DrainCause::Asked, s(3)), (DrainCause::MasterLost, s(5))],
                (DrainCause::MasterLost, s(3)),
            ),
            (
                vec![(DrainCause::Signal, s(9)), (DrainCause::Asked, s(4))],
                (DrainCause::Signal, s(4)),
            ),
        ];
        for (orders, (cause, deadline)) in cases {
            let shutdown = Shutdown::new();
            for (cause, deadline) in &orders {
                shutdown.give(*cause, *deadline);
            }
            assert_eq!(
                shutdown.order(),
                Some(Draining { cause, deadline }),
                "{orders:?}"
            );
        }
    }
}
