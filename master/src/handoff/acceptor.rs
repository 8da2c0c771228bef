//! The thread that accepts. It waits for sockets, receipts, orders and time in one place, and after each wait
//! brings everything up to date.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc as channel};
use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::id::ChildId;
use hatchery_protocol::socket::is_about_one_connection;
use nix::sys::signal::SigSet;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::Order;
use super::account::PAUSE;
use super::balancer::Balancer;
use super::lane::Lane;
use super::lanes::Lanes;
use super::preface::{FIRST_PREFACE, Prefaces};
use super::source::Source;
use crate::reserve::Reserve;
use crate::shell::Input;
use crate::supervisor::Event;

/// How many connections a closing socket gives at most: with many clients its queue would fill as fast as it
/// is emptied, and the stop would never begin.
const LAST_CALL: usize = 1024;
/// How many connections can be under way on the reserve alone.
const RESERVE: usize = 32;

/// What an event is about.
const BELL: u64 = 0;
const FIRST_SOURCE: u64 = 1;
const FIRST_LANE: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Acceptor {
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    orders: channel::Receiver<Order>,
    inputs: mpsc::Sender<Input>,
    sources: Vec<Source>,
    balancer: Balancer<OwnedFd>,
    prefaces: Prefaces,
    lanes: Lanes,
    /// Questions that did not fit on their lanes.
    unasked: Vec<(ChildId, u64)>,
    /// What the control loop has to be told and was too busy for.
    untold: Vec<Event>,
    /// Whether the sockets listen.
    open: bool,
    reserve: Reserve,
    /// Until when nothing is accepted, because there are no descriptors.
    exhausted: Option<Duration>,
    /// Whether the last attempt to accept failed: a spell of failures is one line in the log.
    failing: bool,
}

impl Acceptor {
    pub(super) fn new(
        sources: Vec<Source>,
        balancer: Balancer<OwnedFd>,
        orders: channel::Receiver<Order>,
        bell: Arc<OwnedFd>,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(BELL);
        epoll::add(&epoll, &bell, data, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            bell,
            orders,
            inputs,
            sources,
            balancer,
            prefaces: Prefaces::new(),
            lanes: Lanes::new(FIRST_LANE),
            unasked: Vec::new(),
            untold: Vec::new(),
            open: false,
            reserve: Reserve::of(RESERVE),
            exhausted: None,
            failing: false,
        })
    }

    pub(super) fn run(mut self) {
        // Signals are the main thread's.
        let _ = SigSet::all().thread_block();
        self.reserve.fill(&self.bell);
        let mut ready = Vec::with_capacity(256);
        loop {
            self.wait(&mut ready);
            let about = || ready.iter().map(|event| event.data.u64());
            // What makes room comes before what needs it.
            for lane in about().filter(|token| (FIRST_LANE..FIRST_PREFACE).contains(token)) {
                self.read_receipts(lane);
            }
            if about().any(|token| token == BELL) && !self.take_orders() {
                return;
            }
            for source in about().filter_map(|token| token.checked_sub(FIRST_SOURCE)) {
                self.accept(usize::try_from(source).unwrap_or(usize::MAX));
            }
            self.introduce(about().filter(|token| *token >= FIRST_PREFACE));
            self.hand_over();
            self.tell();
            self.reserve.fill(&self.bell);
            self.watch();
        }
    }

    fn wait(&mut self, ready: &mut Vec<epoll::Event>) {
        ready.clear();
        let now = monotonic();
        let settled = self.unasked.is_empty() && self.untold.is_empty();
        let retry = (!settled).then_some(now + PAUSE);
        let times = [
            self.balancer.deadline(now),
            self.prefaces.deadline(),
            self.exhausted,
            retry,
        ];
        let timeout = times.into_iter().flatten().min().map(|time| {
            // Not a moment too early, or it would be looked at twice.
            let wait = time.saturating_sub(now) + Duration::from_micros(1);
            Timespec::try_from(wait).unwrap_or_default()
        });
        // It can only be interrupted, and then there is nothing to see.
        let _ = epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(ready),
            timeout.as_ref(),
        );
    }

    /// Follows what the control loop says. `false`: it is over.
    fn take_orders(&mut self) -> bool {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        loop {
            match self.orders.try_recv() {
                Ok(Order::Open) => {
                    self.open = true;
                    self.balancer.open();
                }
                Ok(Order::Join(child, lane)) => self.join(child, lane),
                Ok(Order::Hatch(child)) => self.balancer.hatch(child),
                Ok(Order::Retire(child)) => self.balancer.retire(child),
                Ok(Order::Gone(child)) => self.gone(child),
                Ok(Order::Add(sources)) => self.sources.extend(sources),
                Ok(Order::Rule(choosers, most)) => self.balancer.rule(choosers, most),
                Ok(Order::Close(go_on)) => {
                    self.close(&go_on);
                    self.untold.push(Event::ListenersClosed);
                }
                Err(channel::TryRecvError::Empty) => return true,
                Ok(Order::End) | Err(channel::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn join(&mut self, child: ChildId, lane: Lane) {
        match self.lanes.add(&self.epoll, child, lane) {
            Ok(()) => self.balancer.join(child),
            Err(error) => self.complain(child, &format!("its lane cannot be watched: {error}")),
        }
    }

    fn gone(&mut self, child: ChildId) {
        // What it confirmed with its last breath was its own: another one must not read from the middle.
        let _ = self.confirm(child);
        self.balancer.gone(child);
        self.lanes.remove(&self.epoll, child);
    }

    fn read_receipts(&mut self, number: u64) {
        let Some(child) = self.lanes.child(number) else {
            return;
        };
        if let Err(problem) = self.confirm(child) {
            self.complain(child, &problem);
        }
    }

    /// Takes in the receipts that are there.
    fn confirm(&mut self, child: ChildId) -> Result<(), String> {
        let Some(lane) = self.lanes.get(child) else {
            return Ok(());
        };
        loop {
            match lane.receipt() {
                Ok(Some(receipt)) => {
                    if self.balancer.confirm(child, receipt, monotonic()).is_err() {
                        return Err("it confirmed connections that it was never given".to_owned());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("its lane failed: {error}")),
            }
        }
    }

    /// A worker that does not keep to the protocol gets nothing more, and the supervisor ends it. What it
    /// may have is given to others when it is gone, and not before.
    fn complain(&mut self, child: ChildId, reason: &str) {
        tracing::error!("{child}: {reason}");
        self.lanes.unwatch(&self.epoll, child);
        self.balancer.retire(child);
        let reason = reason.to_owned();
        self.untold.push(Event::LinkBroken { child, reason });
    }

    fn tell(&mut self) {
        let inputs = &self.inputs;
        let busy = |event: &Event| {
            let told = inputs.try_send(Input::Happened(event.clone()));
            matches!(told, Err(TrySendError::Full(_)))
        };
        self.untold.retain(busy);
    }

    /// Accepts what there is room for.
    fn accept(&mut self, source: usize) {
        let now = monotonic();
        let source = self.sources.get_mut(source);
        let Some(source) = source.filter(|source| source.is_watched()) else {
            return;
        };
        let room = self.balancer.room(now).saturating_sub(self.prefaces.len());
        let turn = source.next_turn().min(room);
        for accepted in 0..turn {
            match source.accept() {
                Ok(connection) if source.introduced => {
                    if let Some(known) = self.prefaces.add(&self.epoll, connection, now) {
                        self.balancer.offer(known, now);
                    }
                }
                Ok(connection) => self.balancer.offer(connection, now),
                Err(Errno::WOULDBLOCK) => {
                    source.gave_only(accepted);
                    break;
                }
                Err(error) if is_about_one_connection(error) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.reserve.release() => {}
                Err(error) => {
                    if !self.failing {
                        tracing::warn!("cannot accept a connection, trying on: {error}");
                    }
                    self.failing = true;
                    self.exhausted = Some(now + PAUSE);
                    return;
                }
            }
            self.failing = false;
        }
    }

    /// Offers those whose proxies have said who they are, or had time enough.
    fn introduce(&mut self, told: impl Iterator<Item = u64>) {
        let now = monotonic();
        for number in told {
            if let Some(known) = self.prefaces.look(&self.epoll, number) {
                self.balancer.offer(known, now);
            }
        }
        while let Some(unknown) = self.prefaces.overdue(&self.epoll, now) {
            self.balancer.offer(unknown, now);
        }
    }

    /// Brings connections on their way, until everybody has what there is for him.
    fn hand_over(&mut self) {
        let now = monotonic();
        self.ask();
        for child in self.balancer.overdue(now) {
            tracing::debug!("{child} does not read its connections, others get them");
            let numbers = self.lanes.get(child).map(Lane::take_back);
            let question = self.balancer.take_back(child, &numbers.unwrap_or_default());
            self.unasked.extend(question.map(|number| (child, number)));
        }
        self.ask();
        loop {
            self.balancer.settle(now);
            let addressees = self.balancer.addressees();
            if addressees.is_empty() {
                return;
            }
            for child in addressees {
                self.send(child, now);
            }
        }
    }

    fn send(&mut self, child: ChildId, now: Duration) {
        while let Some(parcel) = self.balancer.pack(child) {
            let sent = self.lanes.get(child).map(|lane| lane.send(&parcel));
            match sent {
                Some(Ok(())) => self.balancer.sent(child, parcel, now),
                // Full, or too many descriptors are under way (unix(7)).
                Some(Err(_)) | None => return self.balancer.unsent(child, parcel, now),
            }
        }
    }

    fn ask(&mut self) {
        let lanes = &self.lanes;
        self.unasked.retain(|(child, number)| {
            let lane = lanes.get(*child);
            lane.is_some_and(|lane| lane.ask(*number).is_err())
        });
    }

    /// Watches the sockets that there is room for.
    fn watch(&mut self) {
        let now = monotonic();
        self.exhausted = self.exhausted.filter(|until| now < *until);
        let room = self.balancer.room(now) > self.prefaces.len();
        let any = self.open && self.exhausted.is_none() && room;
        let held = self.balancer.held_slots();
        for (token, source) in (FIRST_SOURCE..).zip(&mut self.sources) {
            let done = if any && source.is_ours(&held) {
                source.watch(&self.epoll, token)
            } else {
                source.unwatch(&self.epoll)
            };
            if let Err(error) = done {
                tracing::error!("a listening socket cannot be watched: {error}");
            }
        }
    }

    /// Hands over who has connected, and gives the sockets up.
    fn close(&mut self, go_on: &BTreeSet<u16>) {
        let now = monotonic();
        self.balancer.last_call();
        let held = self.balancer.held_slots();
        for mut source in std::mem::take(&mut self.sources) {
            let _ = source.unwatch(&self.epoll);
            if !self.open || !source.is_ours(&held) || go_on.contains(&source.listener) {
                continue;
            }
            for _ in 0..LAST_CALL {
                match source.accept() {
                    Ok(connection) => self.balancer.offer(connection, now),
                    Err(error) if is_about_one_connection(error) => {}
                    Err(_) => break,
                }
            }
        }
        while let Some(unknown) = self.prefaces.overdue(&self.epoll, Duration::MAX) {
            self.balancer.offer(unknown, now);
        }
        self.hand_over();
    }
}
