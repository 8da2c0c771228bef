//! The thread that accepts. It waits for sockets, receipts, orders and time in one place, and after each wait
//! brings everything up to date.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::mpsc as channel;
use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::id::ChildId;
use hatchery_protocol::socket::is_about_one_connection;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::Order;
use super::account::PAUSE;
use super::balancer::Balancer;
use super::lane::Lane;
use super::lanes::Lanes;
use super::preface::{FIRST_PREFACE, Prefaces};
use super::source::Source;
use crate::reactor::Reactor;
use crate::reserve::Reserve;
use crate::supervisor::Event;

/// How many connections a closing socket gives at most: with many clients its queue would fill as fast as it
/// is emptied, and the stop would never begin.
const LAST_CALL: usize = 1024;
/// How many connections can be under way on the reserve alone.
const RESERVE: usize = 32;

/// What an event is about, if it is not the bell.
const FIRST_SOURCE: u64 = 1;
const FIRST_LANE: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Acceptor {
    reactor: Reactor<Order>,
    sources: Vec<Source>,
    balancer: Balancer<OwnedFd>,
    prefaces: Prefaces,
    lanes: Lanes,
    /// Questions that did not fit on their lanes.
    unasked: Vec<(ChildId, u64)>,
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
        reactor: Reactor<Order>,
    ) -> Self {
        Self {
            reactor,
            sources,
            balancer,
            prefaces: Prefaces::new(),
            lanes: Lanes::new(FIRST_LANE),
            unasked: Vec::new(),
            open: false,
            reserve: Reserve::of(RESERVE),
            exhausted: None,
            failing: false,
        }
    }

    pub(super) fn run(mut self) {
        self.reserve.fill(self.reactor.any());
        let mut ready = Vec::new();
        loop {
            self.wait(&mut ready);
            let about = || ready.iter().map(|event| event.data.u64());
            // What makes room comes before what needs it.
            for lane in about().filter(|token| (FIRST_LANE..FIRST_PREFACE).contains(token)) {
                self.read_receipts(lane);
            }
            if !self.take_orders() {
                return;
            }
            for source in about().filter_map(|token| token.checked_sub(FIRST_SOURCE)) {
                self.accept(usize::try_from(source).unwrap_or(usize::MAX));
            }
            self.introduce(about().filter(|token| *token >= FIRST_PREFACE));
            self.hand_over();
            self.reactor.tell();
            self.reserve.fill(self.reactor.any());
            self.watch();
        }
    }

    fn wait(&mut self, ready: &mut Vec<epoll::Event>) {
        let now = monotonic();
        let settled = self.unasked.is_empty() && self.reactor.is_settled();
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
        self.reactor.wait(ready, timeout.as_ref());
    }

    /// Follows what the control loop says. `false`: it is over.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.reactor.order() {
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
                    self.reactor.report(Event::ListenersClosed);
                }
                Err(channel::TryRecvError::Empty) => return true,
                Err(channel::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn join(&mut self, child: ChildId, lane: Lane) {
        match self.lanes.add(self.reactor.epoll(), child, lane) {
            Ok(()) => self.balancer.join(child),
            Err(error) => self.complain(child, &format!("its lane cannot be watched: {error}")),
        }
    }

    fn gone(&mut self, child: ChildId) {
        // What it confirmed with its last breath was its own: another one must not read from the middle.
        let _ = self.confirm(child);
        self.balancer.gone(child);
        self.lanes.remove(self.reactor.epoll(), child);
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
        self.lanes.unwatch(self.reactor.epoll(), child);
        self.balancer.retire(child);
        let reason = reason.to_owned();
        self.reactor.report(Event::LinkBroken { child, reason });
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
                    if let Some(known) = self.prefaces.add(self.reactor.epoll(), connection, now) {
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
            if let Some(known) = self.prefaces.look(self.reactor.epoll(), number) {
                self.balancer.offer(known, now);
            }
        }
        while let Some(unknown) = self.prefaces.overdue(self.reactor.epoll(), now) {
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
                source.watch(self.reactor.epoll(), token)
            } else {
                source.unwatch(self.reactor.epoll())
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
            let _ = source.unwatch(self.reactor.epoll());
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
        while let Some(unknown) = self.prefaces.overdue(self.reactor.epoll(), Duration::MAX) {
            self.balancer.offer(unknown, now);
        }
        self.hand_over();
    }
}
