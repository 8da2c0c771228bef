//! The master accepts connections and hands them to workers.
//!
//! ```text
//!  listening sockets ─► acceptor (a thread of its own) ─► lane ─► worker
//!                          │      ▲                        │
//!                       balancer  └──────── receipts ◄─────┘
//! ```
//!
//! - The thread is apart from the control loop: a flood of connections delays no heartbeat, a flood of
//!   control messages no connection.
//! - The master's copy of a connection is closed when the worker has confirmed it, and before that the
//!   worker reads nothing from it. So a connection of a worker that dies or leaves before that is given to
//!   another one, and nobody sees it twice.
//! - The master keeps the worker's end of a lane open, too. What a worker leaves unread for too long the
//!   master reads itself: whoever reads a packet first has it.
//!
//! | file | idea |
//! |---|---|
//! | `balancer`, `account` | who gets which connection; what one worker has of it; pure |
//! | `acceptor` | the thread: accepts, sends, reads receipts |
//! | `source` | a listening socket, and how much it is asked for at a time |
//! | `lane`, `lanes` | the master's view of one lane; which of them wake the thread |
//! | `preface` | who a proxy speaks for |

mod acceptor;
mod account;
mod balancer;
mod lane;
mod lanes;
mod preface;
mod source;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hatchery_protocol::id::{ChildId, Slot};
use tokio::sync::mpsc;

use self::acceptor::Acceptor;
use self::balancer::{Balancer, LONG_STALL, STALL};
use self::lane::Lane;
use self::source::Source;
use crate::attributes::CpuScheduling;
use crate::listener::Listener;
use crate::reactor::{self, Orders, Reactor};
use crate::shell::Input;
use crate::strategy::{Choose, Way, Weights, for_vacant_slots};

/// What the acceptor is told.
#[derive(Debug)]
enum Order {
    /// The addresses listen: begin.
    Open,
    /// A worker was started.
    Join(ChildId, Lane),
    /// A worker was told to begin.
    Hatch(ChildId),
    /// A worker was asked to leave.
    Retire(ChildId),
    /// A worker is gone.
    Gone(ChildId),
    /// There are sockets of new slots.
    Add(Vec<Source>),
    /// Choose differently from now on, and give each worker at most so many connections.
    Rule(Vec<Box<dyn Choose>>, u32),
    /// Hand over who has connected, close the sockets, say so. Who waits for these listeners, which another master
    /// goes on with, is left to it.
    Close(BTreeSet<u16>),
}

/// The acceptor, as the control loop sees it. Ends with this value.
#[derive(Debug)]
pub(crate) struct Handoff {
    orders: Orders<Order>,
    /// How many sockets of each listener the thread knows.
    known: Vec<usize>,
}

impl Handoff {
    /// Starts the thread, if there is a listener that needs it. `most` is how many connections a worker may
    /// have; 0 is no limit.
    pub(crate) fn start(
        listeners: &[Listener],
        weights: &Weights,
        most: u32,
        scheduling: CpuScheduling,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Option<Self>> {
        let sources: Vec<Source> = (0..).zip(listeners).flat_map(sources).collect();
        if sources.is_empty() {
            return Ok(None);
        }
        let choosers = choosers(listeners, weights);
        let sticky = listeners.iter().any(|l| l.strategy.keeps_clients());
        let stall = if sticky { LONG_STALL } else { STALL };
        let balancer = Balancer::new(choosers, most, stall);
        let (orders, reactor) = Reactor::new(inputs)?;
        let acceptor = Acceptor::new(sources, balancer, reactor);
        reactor::start("hatchery-accept", move || {
            // The receipts of a worker that is at work are read when it has done that.
            scheduling.take_on();
            acceptor.run();
        })?;
        let known = listeners.iter().map(|l| l.sockets.len()).collect();
        Ok(Some(Self { orders, known }))
    }

    /// The addresses listen from now on.
    pub(crate) fn open(&self) {
        self.orders.give(Order::Open);
    }

    /// The worker's end of a new lane, for a worker that is about to be started.
    pub(crate) fn lane(&self, child: ChildId) -> io::Result<OwnedFd> {
        let (lane, workers_end) = Lane::new()?;
        self.orders.give(Order::Join(child, lane));
        Ok(workers_end)
    }

    /// This worker was told to begin.
    pub(crate) fn hatch(&self, child: ChildId) {
        self.orders.give(Order::Hatch(child));
    }

    /// Nothing more for this worker.
    pub(crate) fn retire(&self, child: ChildId) {
        self.orders.give(Order::Retire(child));
    }

    /// This worker is no more.
    pub(crate) fn gone(&self, child: ChildId) {
        self.orders.give(Order::Gone(child));
    }

    /// There may be sockets of more slots: nobody is to wait in them until their workers are ready.
    pub(crate) fn add_slots(&mut self, listeners: &[Listener]) {
        let all = (0..).zip(listeners).zip(&mut self.known);
        let new = all.flat_map(|(listener, known)| {
            let first = std::mem::replace(known, listener.1.sockets.len());
            sources(listener).skip(first)
        });
        let new: Vec<Source> = new.collect();
        if !new.is_empty() {
            self.orders.give(Order::Add(new));
        }
    }

    /// Other weights hold from now on, and another limit of connections; 0 is none.
    pub(crate) fn rule(&self, listeners: &[Listener], weights: &Weights, most: u32) {
        self.orders
            .give(Order::Rule(choosers(listeners, weights), most));
    }

    /// Hands over who has connected already and closes the sockets. The control loop hears `ListenersClosed` when that
    /// is done. What workers have not confirmed yet stays in good hands as long as this value lives. `go_on` are the
    /// listeners, by their places, that another master serves from now on: what waits in their queues is its own.
    pub(crate) fn close(&self, go_on: BTreeSet<u16>) {
        self.orders.give(Order::Close(go_on));
    }
}

/// The sockets of a listener that the master may have to accept from.
fn sources((index, listener): (u16, &Listener)) -> impl Iterator<Item = Source> {
    let slots: Vec<Option<Slot>> = match listener.strategy.way() {
        // More than one only where they were a group of slots before, for another master.
        Way::HandOver(_) => vec![None; listener.sockets.len()],
        Way::Shared => Vec::new(),
        Way::PerSlot => (0..).map(Some).take(listener.sockets.len()).collect(),
    };
    let sockets = slots.into_iter().zip(&listener.sockets);
    sockets.map(move |(slot, socket)| {
        Source::new(index, slot, Arc::clone(socket), listener.is_introduced())
    })
}

fn choosers(listeners: &[Listener], weights: &Weights) -> Vec<Box<dyn Choose>> {
    listeners.iter().map(|l| chooser(l, weights)).collect()
}

fn chooser(listener: &Listener, weights: &Weights) -> Box<dyn Choose> {
    match listener.strategy.way() {
        Way::HandOver(make) => make(weights),
        Way::Shared | Way::PerSlot => for_vacant_slots(),
    }
}
