//! Who waits for the outcome of what: an order takes a while, and everybody who gave one learns what became of it.

use std::collections::BTreeMap;

use hatchery_protocol::control::ClusterState;
use tokio::sync::oneshot;

use super::Shell;
use crate::journal::Following;
use crate::supervisor::{Event, Order, Scale};

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Newer processes in every slot.
    Reload {
        /// The agent, too.
        agent: bool,
    },
    /// Another number of workers.
    Scale(Scale),
    /// A new master.
    Upgrade,
}

/// What became of an order.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Done, or a sentence that says why not.
    pub(crate) result: Result<(), String>,
    /// What the operator should know besides.
    pub(crate) notes: Vec<String>,
}

/// An order as whoever gave it sees it.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Everything that happens from now on.
    pub(crate) following: Following,
    /// Whether it has to wait for another one.
    pub(crate) queued: bool,
    /// What becomes of it.
    pub(crate) outcome: oneshot::Receiver<Outcome>,
}

/// All orders that are not finished.
#[derive(Debug, Default)]
pub(super) struct Orders {
    last: Order,
    open: BTreeMap<Order, Open>,
    /// What the configuration that was read last says that cannot be done now.
    pub(super) reload_notes: Vec<String>,
}

#[derive(Debug)]
struct Open {
    wish: Wish,
    origin: &'static str,
    /// Nobody waits for what a signal asked for.
    to: Option<oneshot::Sender<Outcome>>,
}

impl Shell {
    /// Takes an order. Whoever gave it hears of everything that happens from here on.
    pub(super) fn place(
        &mut self,
        wish: Wish,
        origin: &'static str,
        to: Option<oneshot::Sender<Placed>>,
    ) {
        self.orders.last += 1;
        let order = self.orders.last;
        let reloading = self.supervisor.report().state == ClusterState::Reloading;
        let queued = reloading && matches!(wish, Wish::Reload { .. });
        let to = to.map(|to| {
            let (outcome, later) = oneshot::channel();
            // A client that left already is fine.
            let _ = to.send(Placed {
                following: self.journal.follow(),
                queued,
                outcome: later,
            });
            outcome
        });
        self.orders.open.insert(order, Open { wish, origin, to });
        if let Some(why) = self.refusal(wish) {
            return self.finish(order, Err(why.to_owned()));
        }
        let origin = origin.to_owned();
        self.happen(match wish {
            Wish::Reload { agent } => Event::ReloadRequested {
                order,
                origin,
                agent,
            },
            Wish::Scale(to) => Event::ScaleRequested { order, origin, to },
            Wish::Upgrade => Event::UpgradeRequested { order, origin },
        });
    }

    /// Tells whoever gave the order.
    pub(super) fn finish(&mut self, order: Order, result: Result<(), String>) {
        let Some(open) = self.orders.open.remove(&order) else {
            return;
        };
        let (what, notes) = match open.wish {
            Wish::Reload { .. } => ("reload", self.orders.reload_notes.clone()),
            Wish::Scale(_) => ("change of the number of workers", Vec::new()),
            Wish::Upgrade => ("upgrade", Vec::new()),
        };
        match open.to {
            Some(to) => drop(to.send(Outcome { result, notes })),
            None => {
                if let Err(error) = result {
                    let origin = open.origin;
                    tracing::error!("the {what} that {origin} asked for failed: {error}");
                }
            }
        }
    }
}
