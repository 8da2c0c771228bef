//! Messages of the author's processes to each other, through the master.
//!
//! ```text
//!  worker 0 ─┐                                   ┌─► agent
//!  worker 1 ─┼─► carrier (a thread of its own) ──┼─► worker 0
//!  agent    ─┘        │                          └─► worker 1
//!                  router (pure)
//! ```
//!
//! - The thread is apart from the control loop and from the one that accepts: a flood of messages delays no
//!   heartbeat and no connection.
//! - Nothing but the header of a frame is read. A child that does not keep to the protocol is ended, with the reason;
//!   the master goes on.
//! - What waits for one receiver is bounded for each sender, see [`hatchery_protocol::post`]: who stands still
//!   costs the master so much and no more, and nobody else waits for him.
//!
//! | file | idea |
//! |---|---|
//! | `router` | who gets which frame; pure |
//! | `carrier` | the thread: reads and writes packets |

mod carrier;
mod router;

use std::io;
use std::os::fd::OwnedFd;

use hatchery_protocol::id::ChildId;
use hatchery_protocol::post::{self, Limits};
use tokio::sync::mpsc;

use self::carrier::Carrier;
use crate::reactor::{self, Orders, Reactor};
use crate::shell::Input;

/// What the carrier is told.
#[derive(Debug)]
enum Order {
    /// A child was started.
    Join(ChildId, OwnedFd),
    /// These children, with their process ids, are about to be told to begin.
    Hatch(Vec<(ChildId, u32)>),
    /// A child was asked to leave.
    Retire(ChildId),
    /// A child is gone.
    Gone(ChildId),
}

/// The carrier, as the control loop sees it. Ends with this value.
#[derive(Debug)]
pub(crate) struct Post {
    orders: Orders<Order>,
}

impl Post {
    /// Starts the thread.
    pub(crate) fn start(limits: Limits, inputs: mpsc::Sender<Input>) -> io::Result<Self> {
        let (orders, reactor) = Reactor::new(inputs)?;
        let carrier = Carrier::new(limits, reactor);
        reactor::start("hatchery-post", move || carrier.run())?;
        Ok(Self { orders })
    }

    /// The child's end of a new post, for a child that is about to be started.
    pub(crate) fn join(&self, child: ChildId) -> io::Result<OwnedFd> {
        let (ours, theirs) = post::pair()?;
        self.orders.give(Order::Join(child, ours));
        Ok(theirs)
    }

    /// These are about to be told to begin. From here on they can be talked to. Who is named again is one already.
    pub(crate) fn hatch(&self, children: Vec<(ChildId, u32)>) {
        self.orders.give(Order::Hatch(children));
    }

    /// This child was asked to leave.
    pub(crate) fn retire(&self, child: ChildId) {
        self.orders.give(Order::Retire(child));
    }

    /// This child is no more.
    pub(crate) fn gone(&self, child: ChildId) {
        self.orders.give(Order::Gone(child));
    }
}
