//! The account that the master keeps of one worker: what is on its way to it, and whether it may have more.
//!
//! Nothing gets lost in here: each method that takes connections away from a worker gives them to its caller,
//! in the order in which they were meant for it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hatchery_protocol::handoff::{MAX_BATCH, Receipt};

/// How many connections may be on their way to one worker without a receipt.
pub(super) const WINDOW: usize = 128;
/// How long a worker without descriptors, or with a full lane, is left alone.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// A connection that the master has accepted.
#[derive(Debug)]
pub(super) struct Connection<C> {
    /// The index of its listener.
    pub(super) listener: u16,
    pub(super) client: Option<IpAddr>,
    pub(super) it: C,
}

/// Connections for one worker, about to be sent.
#[derive(Debug)]
pub(super) struct Parcel<C> {
    pub(super) number: u64,
    pub(super) connections: Vec<Connection<C>>,
}

/// A receipt for something that was never sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

#[derive(Debug)]
pub(super) struct Account<C> {
    state: State,
    /// Until when it is left alone.
    paused: Duration,
    /// Chosen for it, not sent yet.
    pub(super) outbox: VecDeque<Connection<C>>,
    /// Sent and unconfirmed, oldest first.
    pub(super) sent: VecDeque<(Parcel<C>, Duration)>,
    /// How many connections those are.
    under_way: usize,
    /// The number of the last parcel.
    number: u64,
    /// How many connections it had at its last receipt.
    open: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was not told to begin.
    Joined,
    Reading,
    /// It has left connections unread for too long, and owes an answer.
    Stalled,
    /// It gets nothing more.
    Leaving,
}

impl<C> Account<C> {
    /// That of a worker that was not told to begin.
    pub(super) const fn new() -> Self {
        Self {
            state: State::Joined,
            paused: Duration::ZERO,
            outbox: VecDeque::new(),
            sent: VecDeque::new(),
            under_way: 0,
            number: 0,
            open: 0,
        }
    }

    /// It was told to begin.
    pub(super) fn hatch(&mut self) {
        if self.state == State::Joined {
            self.state = State::Reading;
        }
    }

    /// Whether it reads its lane.
    pub(super) fn is_reading(&self) -> bool {
        self.state == State::Reading
    }

    /// Whether it looks after the sockets of its own.
    pub(super) const fn holds_its_sockets(&self) -> bool {
        matches!(self.state, State::Reading | State::Stalled)
    }

    /// Whether it may be given something, whatever the limits.
    pub(super) fn is_open(&self, now: Duration) -> bool {
        now >= self.paused && self.state != State::Leaving
    }

    /// Whether it may be given something again in a moment.
    pub(super) fn is_paused(&self, now: Duration) -> bool {
        now < self.paused && self.state != State::Leaving
    }

    /// How many connections are on their way to it.
    pub(super) fn unconfirmed(&self) -> usize {
        self.outbox.len() + self.under_way
    }

    /// How many connections it has, as far as is known here.
    pub(super) fn connections(&self) -> u64 {
        u64::from(self.open) + self.unconfirmed() as u64
    }

    /// How many more it may be given, if it may have `most`; 0 is no limit.
    pub(super) fn room(&self, most: u32, now: Duration) -> usize {
        if self.state != State::Reading || now < self.paused {
            return 0;
        }
        let window = WINDOW.saturating_sub(self.unconfirmed());
        match most {
            0 => window,
            most => {
                let left = u64::from(most).saturating_sub(self.connections());
                window.min(usize::try_from(left).unwrap_or(usize::MAX))
            }
        }
    }

    /// When its oldest unconfirmed parcel is overdue.
    fn due(&self, stall: Duration) -> Duration {
        let oldest = self.sent.front();
        oldest.map_or(Duration::MAX, |(_, at)| *at + stall)
    }

    /// Whether it leaves something unread for too long.
    pub(super) fn is_late(&self, now: Duration, stall: Duration) -> bool {
        self.state == State::Reading && now >= self.due(stall)
    }

    /// When time alone changes something about it.
    pub(super) fn deadlines(&self, now: Duration, stall: Duration) -> [Option<Duration>; 2] {
        let paused = (self.paused > now).then_some(self.paused);
        let late = (self.state == State::Reading && !self.sent.is_empty()).then(|| self.due(stall));
        [paused, late]
    }

    /// The next parcel for it.
    pub(super) fn pack(&mut self) -> Option<Parcel<C>> {
        let count = self.outbox.len().min(MAX_BATCH);
        let connections: Vec<_> = self.outbox.drain(..count).collect();
        (count > 0).then(|| Parcel {
            number: self.number + 1,
            connections,
        })
    }

    /// The parcel is on its way.
    pub(super) fn sent(&mut self, parcel: Parcel<C>, now: Duration) {
        self.number = parcel.number;
        self.under_way += parcel.connections.len();
        self.sent.push_back((parcel, now));
    }

    /// The parcel could not be sent: it is left alone for a moment. The result is what others get.
    pub(super) fn unsent(&mut self, parcel: Parcel<C>, now: Duration) -> Vec<Connection<C>> {
        self.paused = now + PAUSE;
        let rest = std::mem::take(&mut self.outbox);
        parcel.connections.into_iter().chain(rest).collect()
    }

    /// It confirms a parcel. The result is what others get: what did not arrive, or everything that is left, of
    /// one that leaves.
    pub(super) fn confirm(
        &mut self,
        receipt: Receipt,
        now: Duration,
    ) -> Result<Vec<Connection<C>>, Nonsense> {
        if receipt.number > self.number {
            return Err(Nonsense);
        }
        self.open = receipt.open;
        if matches!(self.state, State::Joined | State::Stalled) {
            self.state = State::Reading;
        }
        let mut lost = Vec::new();
        let is_confirmed = |(parcel, _): &(Parcel<C>, _)| parcel.number <= receipt.number;
        while self.sent.front().is_some_and(is_confirmed) {
            let Some((mut parcel, _)) = self.sent.pop_front() else {
                break;
            };
            self.under_way -= parcel.connections.len();
            // An earlier one has its own receipt, unless the worker summed up.
            let taken = if parcel.number == receipt.number {
                usize::from(receipt.taken)
            } else {
                parcel.connections.len()
            };
            if taken > parcel.connections.len() {
                return Err(Nonsense);
            }
            lost.extend(parcel.connections.drain(taken..));
        }
        if !lost.is_empty() {
            self.paused = now + PAUSE;
        }
        if receipt.leaving {
            self.state = State::Leaving;
            self.under_way = 0;
            lost.extend(self.sent.drain(..).flat_map(|(p, _)| p.connections));
            lost.append(&mut self.outbox.drain(..).collect());
        }
        Ok(lost)
    }

    /// What it had not read was taken away from it again: the parcels with these numbers. It has to answer a
    /// question before it gets more; the result is that question's number, and what others get.
    pub(super) fn take_back(&mut self, numbers: &[u64]) -> (u64, Vec<Connection<C>>) {
        self.state = State::Stalled;
        let (unread, read) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(parcel, _)| numbers.contains(&parcel.number));
        self.sent = read;
        let under_way = self.sent.iter().map(|(p, _)| p.connections.len());
        self.under_way = under_way.sum();
        let unread = unread
            .into_iter()
            .flat_map(|(parcel, _)| parcel.connections);
        let unread = unread.chain(self.outbox.drain(..)).collect();
        self.number += 1;
        (self.number, unread)
    }

    /// It is to get nothing more. What is on its way to it, it will still read; the rest others get.
    pub(super) fn retire(&mut self) -> VecDeque<Connection<C>> {
        self.state = State::Leaving;
        std::mem::take(&mut self.outbox)
    }

    /// It is no more: everything that it had not confirmed.
    pub(super) fn into_connections(self) -> Vec<Connection<C>> {
        let sent = self.sent.into_iter().flat_map(|(p, _)| p.connections);
        sent.chain(self.outbox).collect()
    }
}
