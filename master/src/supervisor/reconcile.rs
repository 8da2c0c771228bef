//! The state of the whole cluster: actions out.
//!
//! Everything here looks at the state alone, never at the event that came before. That is what makes a
//! lost or doubled event harmless.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};
use hatchery_protocol::message::Member;

use super::action::{Action, News};
use super::cluster::{Course, Supervisor, record};
use super::event::Now;
use super::seat::{Occupant, Phase, Place};

impl Supervisor {
    /// Compares what is wanted with what is.
    pub(super) fn reconcile(&mut self, now: Now, out: &mut Vec<Action>) {
        self.kill_overdue(now, out);
        match self.course {
            Course::Idle | Course::Finished => {}
            Course::Starting { listening } => {
                self.fill_first_seats(out);
                self.tell_news(out);
                if !listening && self.everybody_is_ready() {
                    self.course = Course::Starting { listening: true };
                    out.push(Action::Listen);
                }
            }
            Course::Serving | Course::Announced { .. } => {
                self.fill_vacant_seats(now, out);
                self.tell_news(out);
                self.hatch(out);
                self.forewarn(out);
            }
            Course::Stopping {
                exit,
                deadline,
                at_once,
            } => self.stop(now, exit, deadline, at_once, out),
        }
    }

    /// Kills who has had enough time.
    fn kill_overdue(&mut self, now: Now, out: &mut Vec<Action>) {
        let overdue: Vec<(ChildId, String)> = self
            .occupants()
            .filter(|occupant| occupant.deadline().is_some_and(|deadline| deadline <= now))
            .map(|occupant| {
                let cause = match (occupant.phase, occupant.id.seat) {
                    (Phase::Draining { .. }, _) => "it did not finish in time and was killed",
                    (_, Seat::Agent) => {
                        "Agent::start did not finish within its start timeout and was killed"
                    }
                    (_, Seat::Worker(_)) => {
                        "Worker::start did not finish within its start timeout and was killed"
                    }
                };
                (occupant.id, cause.to_owned())
            })
            .collect();
        for (child, cause) in overdue {
            self.kill(child, cause, out);
        }
    }

    /// The agent first, and the workers when it is ready.
    fn fill_first_seats(&mut self, out: &mut Vec<Action>) {
        let agent_is_ready = self.places.get(&Seat::Agent).is_some_and(Place::is_ready);
        for place in self.places.values_mut() {
            let may_start = place.seat == Seat::Agent || agent_is_ready;
            if may_start && place.occupant.is_none() {
                self.incarnations += 1;
                out.push(Action::Spawn {
                    child: place.occupy(self.incarnations),
                    generation: 1,
                });
            }
        }
    }

    fn fill_vacant_seats(&mut self, now: Now, out: &mut Vec<Action>) {
        for place in self.places.values_mut() {
            if place.occupant.is_none() && place.vacant_until <= now {
                self.incarnations += 1;
                out.push(Action::Spawn {
                    child: place.occupy(self.incarnations),
                    generation: 1,
                });
            }
        }
    }

    /// Tells who is ready when that is not what was told last. Before egg-ready only the agent hears of
    /// workers: they learn of each other at once, when all of them are there.
    fn tell_news(&mut self, out: &mut Vec<Action>) {
        let serving = self.is_serving();
        let agent = self.ready_agent();
        let workers = self.ready_workers();
        if serving && !self.told.everybody {
            self.told.everybody = true;
            self.told.workers.clear();
        }
        if agent != self.told.agent {
            self.told.agent = agent;
            self.tell(News::Agent(agent), |seat| seat != Seat::Agent, out);
        }
        if workers != self.told.workers {
            self.told.workers.clone_from(&workers);
            let heard_by = |seat| serving || seat == Seat::Agent;
            self.tell(News::Workers(workers), heard_by, out);
        }
    }

    fn tell(&self, news: News, hears: impl Fn(Seat) -> bool, out: &mut Vec<Action>) {
        let to: Vec<ChildId> = self
            .occupants()
            .filter(|occupant| occupant.listens() && hears(occupant.id.seat))
            .map(|occupant| occupant.id)
            .collect();
        if !to.is_empty() {
            out.push(Action::Tell { to, news });
        }
    }

    /// Tells each ready process once that everybody is.
    fn hatch(&mut self, out: &mut Vec<Action>) {
        for occupant in self
            .places
            .values_mut()
            .filter_map(|p| p.occupant.as_mut())
            .filter(|occupant| occupant.is_ready() && !occupant.hatched)
        {
            occupant.hatched = true;
            out.push(Action::EggReady { child: occupant.id });
        }
    }

    /// Tells each process once that a stop is to come. One that is still being created hears it then.
    fn forewarn(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.course, Course::Announced { .. }) {
            return;
        }
        for occupant in self
            .places
            .values_mut()
            .filter_map(|p| p.occupant.as_mut())
            .filter(|occupant| occupant.listens() && occupant.pid.is_some() && !occupant.forewarned)
        {
            occupant.forewarned = true;
            out.push(Action::Announce { child: occupant.id });
        }
    }

    /// Workers in parallel, then the agent, then the master itself. The one deadline is for all of them;
    /// only the agent is promised a minimum, however long the workers took.
    fn stop(&mut self, now: Now, exit: Exit, deadline: Now, at_once: bool, out: &mut Vec<Action>) {
        if at_once {
            for child in self.occupants().map(|o| o.id).collect::<Vec<_>>() {
                self.kill(child, "the stop was to be at once".to_owned(), out);
            }
        } else {
            let workers_left = self.occupants().any(|o| o.id.seat != Seat::Agent);
            let mut budget = deadline.saturating_sub(now);
            if !workers_left {
                budget = budget.max(self.policy.kill_after);
            }
            let kill_at = now + budget + self.policy.kill_after;
            for occupant in self.places.values_mut().filter_map(|p| p.occupant.as_mut()) {
                if workers_left && occupant.id.seat == Seat::Agent {
                    continue;
                }
                match &mut occupant.phase {
                    Phase::Booting { .. } | Phase::Ready { .. } => {
                        occupant.phase = Phase::Draining { deadline: kill_at };
                        let (child, seat) = (occupant.id, Some(occupant.id.seat));
                        record(out, EventName::Draining, seat, occupant.pid, None);
                        out.push(Action::Drain { child, budget });
                    }
                    // On its way already, for a reason of its own; the stop's deadline holds for it, too.
                    Phase::Draining { deadline } => *deadline = (*deadline).min(kill_at),
                    Phase::Spawning | Phase::Killed => {}
                }
            }
        }
        if self.occupants().next().is_none() {
            self.course = Course::Finished;
            record(out, EventName::Stopped, None, None, None);
            out.push(Action::Exit { exit });
        }
    }

    pub(super) fn occupants(&self) -> impl Iterator<Item = &Occupant> {
        self.places.values().filter_map(|p| p.occupant.as_ref())
    }

    pub(super) fn everybody_is_ready(&self) -> bool {
        self.places.values().all(Place::is_ready)
    }

    /// The agent's process, once it is ready.
    pub fn ready_agent(&self) -> Option<u32> {
        let agent = self.places.get(&Seat::Agent)?.occupant.as_ref()?;
        agent.pid.filter(|_| agent.is_ready())
    }

    /// The ready workers, in order of slot.
    pub fn ready_workers(&self) -> Vec<Member> {
        self.places.values().filter_map(Place::member).collect()
    }
}
