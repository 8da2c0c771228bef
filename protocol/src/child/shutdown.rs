//! The order to leave: when it came, why, and until when.

use std::sync::Arc;
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
    order: Arc<watch::Sender<Option<Draining>>>,
    token: CancellationToken,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            order: Arc::new(watch::channel(None).0),
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

    /// The order, if it came.
    pub fn order(&self) -> Option<Draining> {
        *self.order.borrow()
    }

    /// Waits for the order.
    pub async fn ordered(&self) -> Draining {
        let mut order = self.order.subscribe();
        loop {
            if let Some(draining) = *order.borrow_and_update() {
                return draining;
            }
            if order.changed().await.is_err() {
                // Unreachable while `self` holds the sender; to wait is right all the same.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until an order that came already is brought forward or changes its cause.
    pub async fn hastened(&self, known: Draining) -> Draining {
        let mut order = self.order.subscribe();
        loop {
            if let Some(draining) = *order.borrow_and_update()
                && draining != known
            {
                return draining;
            }
            if order.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the order. A later one can only bring the deadline forward; a lost master stays lost.
    pub fn give(&self, cause: DrainCause, deadline: Duration) {
        self.order.send_if_modified(|order| {
            let next = match *order {
                None => Draining { cause, deadline },
                Some(old) => Draining {
                    cause: if cause == DrainCause::MasterLost {
                        cause
                    } else {
                        old.cause
                    },
                    deadline: old.deadline.min(deadline),
                },
            };
            let changed = *order != Some(next);
            *order = Some(next);
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
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
