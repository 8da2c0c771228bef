//! What the judge knows of one process: only what the supervisor was told, and what it did.

use std::time::Duration;

use hatchery_master::supervisor::{News, Now, Policy};
use hatchery_protocol::id::{ChildId, Generation, Role, Seat};
use hatchery_protocol::message::Member;

use crate::scenario::{BEAT, Pace};

/// How long a child may boot beyond its timeout: it is to notice first, so the master is a little more
/// patient, and how much is its own affair.
const BOOT_MARGIN: Now = Now::from_secs(1);
/// How long a stop waits for those who have connected to be passed on.
pub(crate) const LAST_CALL: Now = Now::from_secs(1);
/// How long a hung process has for its last words.
pub(crate) const DIAGNOSIS: Now = Now::from_secs(2);

/// A process that was asked for and is not known to be gone.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that the judge remembers"
)]
pub(crate) struct Known {
    pub(crate) id: ChildId,
    pub(crate) generation: Generation,
    pub(crate) pid: Option<u32>,
    pub(crate) state: State,
    pub(crate) ready_since: Option<Now>,
    /// It was told that everybody is ready.
    pub(crate) hatched: bool,
    /// It was told that a stop is to come.
    pub(crate) forewarned: bool,
    /// It did something that it is to be killed for at once.
    pub(crate) condemned: bool,
    /// Its seat is somebody else's or nobody's: it is to leave, and its end means nothing.
    pub(crate) dismissed: bool,
    /// It was dismissed for one of its own generation.
    pub(crate) recycled: bool,
    /// It was killed because it was in its heir's way.
    pub(crate) in_the_way: bool,
    /// It has worked enough to be replaced, perhaps.
    pub(crate) worn: bool,
    /// When its runtime was last known to live.
    pub(crate) alive: Now,
    /// When it was diagnosed.
    pub(crate) diagnosed: Option<Now>,
    /// When it was asked to stand down, and whether it has.
    pub(crate) stands_down: Option<Now>,
    pub(crate) stood_down: bool,
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

impl Membership {
    /// What a child makes of news: it knows nothing but what it was told.
    pub(crate) fn hears(&mut self, news: &News) {
        match news {
            News::Agent(pid) => self.agent = *pid,
            News::Workers { up, down } => {
                let changed = |slot| down.contains(&slot) || up.iter().any(|m| m.slot == slot);
                self.workers.retain(|member| !changed(member.slot));
                self.workers.extend(up);
                self.workers.sort_by_key(|member| member.slot);
            }
        }
    }
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

    fn at_least(self, moment: Now) -> Self {
        Self {
            earliest: self.earliest,
            latest: self.latest.max(moment),
        }
    }
}

impl Known {
    pub(crate) const fn asked_for(id: ChildId, generation: Generation, belief: Membership) -> Self {
        Self {
            id,
            generation,
            pid: None,
            state: State::Asked,
            ready_since: None,
            hatched: false,
            forewarned: false,
            condemned: false,
            dismissed: false,
            recycled: false,
            in_the_way: false,
            worn: false,
            alive: Now::ZERO,
            diagnosed: None,
            stands_down: None,
            stood_down: false,
            belief,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether it is at work for good.
    pub(crate) fn is_member(&self) -> bool {
        self.is_ready() && !self.condemned && !self.dismissed
    }

    pub(crate) const fn is_booting(&self) -> bool {
        matches!(self.state, State::Asked | State::Booting(_))
    }

    /// Whether news still reach it.
    pub(crate) const fn listens(&self) -> bool {
        matches!(self.state, State::Asked | State::Booting(_) | State::Ready) && !self.dismissed
    }

    /// Whether it was not asked to leave although it could be.
    pub(crate) const fn stays(&self) -> bool {
        matches!(self.state, State::Booting(_) | State::Ready)
    }

    pub(crate) fn is_worker(&self) -> bool {
        self.id.seat != Seat::Agent
    }

    /// Whether it may be doing what may be done only once.
    pub(crate) fn is_on_duty(&self) -> bool {
        !self.is_worker() && self.hatched && !self.stood_down
    }

    pub(crate) const fn patience(&self) -> Option<Patience> {
        match self.state {
            State::Booting(patience) | State::Leaving(patience) => Some(patience),
            State::Asked | State::Ready | State::Killed => None,
        }
    }

    /// Whether it was silent for so long that it is to be killed.
    pub(crate) fn is_hung(&self, now: Now, policy: &Policy) -> bool {
        let timeout = policy.worker_timeout;
        let diagnosed = self.diagnosed.is_some_and(|at| at + DIAGNOSIS <= now);
        self.is_ready() && !timeout.is_zero() && diagnosed && self.alive + timeout <= now
    }

    /// Whether it was asked to stand down and took too long.
    pub(crate) fn lingers(&self, now: Now, policy: &Policy) -> bool {
        let asked = self
            .stands_down
            .filter(|_| self.is_ready() && !self.stood_down);
        asked.is_some_and(|at| at + policy.stand_down_timeout <= now)
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
            self.alive = now;
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

    pub(crate) fn beats(&mut self, now: Now, runtime_age: Duration, policy: &Policy) {
        if self.is_ready() {
            self.alive = self.alive.max(now.saturating_sub(runtime_age));
            if self.alive + policy.worker_timeout > now {
                self.diagnosed = None;
            }
        }
    }

    /// It has an excuse for whatever it did not do.
    pub(crate) fn gets_time(&mut self, now: Now, policy: &Policy, leaving_too: bool) {
        self.alive = now;
        self.diagnosed = None;
        match &mut self.state {
            State::Booting(patience) => *patience = patience.at_least(now + policy.kill_after),
            State::Leaving(patience) if leaving_too => {
                *patience = patience.at_least(now + policy.kill_after);
            }
            State::Asked | State::Ready | State::Leaving(_) | State::Killed => {}
        }
    }

    pub(crate) const fn breaks_link(&mut self) {
        self.condemned |= !matches!(self.state, State::Asked | State::Killed);
    }
}

/// The longest from the last fault to a cluster that is whole again.
pub(crate) fn longest_recovery(policy: &Policy, pace: &Pace, slots: u32) -> Now {
    let start = policy.agent_start_timeout.max(policy.worker_start_timeout) + BOOT_MARGIN;
    let leave = policy.drain_timeout + policy.kill_after;
    let hang = policy.worker_timeout + DIAGNOSIS + BEAT + policy.stand_down_timeout;
    let gone = pace.delivery + start.max(leave).max(hang) + pace.timer * 2 + pace.kill;
    let boot = pace.timer + pace.spawn + pace.boot + pace.delivery;
    // One after the other, and before that whoever boots badly.
    let turns = slots.div_ceil(policy.booting.max(1));
    (gone + pace.delivery) * (1 + turns) + policy.backoff.cap + boot * (1 + turns)
}

/// The longest a stop may take: the one deadline, the kill after it, and the agent's own minimum. A timer may be late
/// three times: for the last call, for the workers, for the agent.
pub(crate) fn longest_stop(policy: &Policy, pace: &Pace) -> Now {
    let workers = policy.drain_timeout.max(pace.spawn).max(LAST_CALL) + policy.kill_after;
    let agent = policy.kill_after * 2;
    workers + agent + pace.timer * 3 + (pace.kill + pace.delivery) * 2
}
