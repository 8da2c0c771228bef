//! What the judge knows of one process: only what the supervisor was told, and what it did.

use hatchery_master::supervisor::{Now, Policy};
use hatchery_protocol::id::{ChildId, Role, Seat};
use hatchery_protocol::message::Member;

use crate::scenario::Pace;

/// How long a child may boot beyond its timeout: it is to notice first, so the master is a little more
/// patient, and how much is its own affair.
const BOOT_MARGIN: Now = Now::from_secs(1);

/// A process that was asked for and is not known to be gone.
pub(crate) struct Known {
    pub(crate) id: ChildId,
    pub(crate) pid: Option<u32>,
    pub(crate) state: State,
    pub(crate) ready_since: Option<Now>,
    /// It was told that everybody is ready.
    pub(crate) hatched: bool,
    /// It was told that a stop is to come.
    pub(crate) forewarned: bool,
    /// It did something that it is to be killed for at once.
    pub(crate) condemned: bool,
    /// What it believes about the others.
    pub(crate) belief: Membership,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Asked,
    Booting(Patience),
    Ready,
    Leaving(Patience),
    Killed,
}

/// When a process may be killed, and when it has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) earliest: Now,
    pub(crate) latest: Now,
}

/// Who is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) agent: Option<u32>,
    pub(crate) workers: Vec<Member>,
}

impl Patience {
    pub(crate) const fn until(moment: Now) -> Self {
        Self {
            earliest: moment,
            latest: moment,
        }
    }

    fn boot(now: Now, role: Role, policy: &Policy) -> Self {
        let limit = match role {
            Role::Agent => policy.agent_start_timeout,
            Role::Worker | Role::Master => policy.worker_start_timeout,
        };
        Self {
            earliest: now + limit,
            latest: now + limit + BOOT_MARGIN,
        }
    }

    pub(crate) fn at_most(self, moment: Now) -> Self {
        Self {
            earliest: self.earliest.min(moment),
            latest: self.latest.min(moment),
        }
    }
}

impl Known {
    pub(crate) const fn asked_for(id: ChildId, belief: Membership) -> Self {
        Self {
            id,
            pid: None,
            state: State::Asked,
            ready_since: None,
            hatched: false,
            forewarned: false,
            condemned: false,
            belief,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether news still reach it.
    pub(crate) const fn listens(&self) -> bool {
        matches!(self.state, State::Asked | State::Booting(_) | State::Ready)
    }

    /// Whether it was not asked to leave although it could be.
    pub(crate) const fn stays(&self) -> bool {
        matches!(self.state, State::Booting(_) | State::Ready)
    }

    pub(crate) fn is_worker(&self) -> bool {
        self.id.seat != Seat::Agent
    }

    pub(crate) const fn patience(&self) -> Option<Patience> {
        match self.state {
            State::Booting(patience) | State::Leaving(patience) => Some(patience),
            State::Asked | State::Ready | State::Killed => None,
        }
    }

    /// True when that is news.
    pub(crate) fn is_spawned(&mut self, now: Now, pid: u32, policy: &Policy) -> bool {
        let news = self.state == State::Asked;
        if news {
            self.pid = Some(pid);
            self.state = State::Booting(Patience::boot(now, self.id.seat.role(), policy));
        }
        news
    }

    /// True when that is news.
    pub(crate) fn says_ready(&mut self, now: Now) -> bool {
        let news = matches!(self.state, State::Booting(_));
        if news {
            self.state = State::Ready;
            self.ready_since = Some(now);
        } else {
            self.condemned |= self.state == State::Ready;
        }
        news
    }

    pub(crate) fn says_failed(&mut self, now: Now, policy: &Policy) {
        match self.state {
            State::Booting(patience) => {
                self.state = State::Leaving(patience.at_most(now + policy.kill_after));
            }
            State::Ready => {
                let end = now + policy.drain_timeout + policy.kill_after;
                self.state = State::Leaving(Patience::until(end));
            }
            State::Asked | State::Leaving(_) | State::Killed => {}
        }
    }

    pub(crate) const fn breaks_link(&mut self) {
        self.condemned |= !matches!(self.state, State::Asked | State::Killed);
    }
}

/// The longest from the last fault to a cluster that is whole again.
pub(crate) fn longest_recovery(policy: &Policy, pace: &Pace) -> Now {
    let start = policy.agent_start_timeout.max(policy.worker_start_timeout) + BOOT_MARGIN;
    let leave = policy.drain_timeout + policy.kill_after;
    let gone = pace.delivery + start.max(leave) + pace.timer + pace.kill + pace.delivery;
    gone + policy.backoff.cap + pace.timer + pace.spawn + pace.boot + pace.delivery
}

/// The longest a stop may take: the one deadline, the kill after it, and the agent's own minimum.
pub(crate) fn longest_stop(policy: &Policy, pace: &Pace) -> Now {
    let workers = policy.drain_timeout.max(pace.spawn) + policy.kill_after;
    let agent = policy.kill_after * 2;
    workers + agent + (pace.timer + pace.kill + pace.delivery) * 2
}
