//! From one agent to the next: exactly one does what may be done only once.
//!
//! An agent is on duty from egg-ready until it has stood down or is gone. The next one is ready before
//! the one on duty is asked to stand down, and hears egg-ready after that: nobody is on duty for a
//! moment, and never are two. Who has stood down cannot take it back, so it is replaced by a fresh one
//! when nothing came of what it stood down for.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use super::action::Action;
use super::cluster::{Supervisor, note};
use super::event::Now;
use super::seat::{Duty, Occupant};

impl Supervisor {
    pub(super) fn on_stood_down(&mut self, child: ChildId) {
        if let Some(agent) = self.process(child)
            && let Duty::Leaving { .. } = agent.duty
        {
            agent.duty = Duty::Left;
        }
    }

    fn agent(&self) -> Option<&Occupant> {
        self.places.get(Seat::Agent)?.occupant.as_ref()
    }

    fn heir(&self) -> Option<&Occupant> {
        self.places.get(Seat::Agent)?.successor.as_ref()
    }

    /// The agent that will be there longest: the one that is to take over, if there is one.
    pub fn newest_agent(&self) -> Option<ChildId> {
        self.heir().or(self.agent()).map(|agent| agent.id)
    }

    /// Whether somebody of this master's is on duty.
    pub(super) fn agent_is_on_duty(&self) -> bool {
        self.agent().is_some_and(Occupant::is_on_duty)
    }

    pub(super) fn agent_may_hatch(&self) -> bool {
        !self.agent_is_withheld()
    }

    /// An heir that takes part in a reload waits until that is decided.
    fn heir_may_follow(&self) -> bool {
        self.heir()
            .is_some_and(|heir| heir.generation == self.adopted)
    }

    pub(super) fn spawn_heir(&mut self, generation: Generation, out: &mut Vec<Action>) {
        if let Some(place) = self.places.edit(Seat::Agent) {
            self.incarnations += 1;
            let child = place.admit_successor(self.incarnations, generation);
            out.push(Action::Spawn { child, generation });
        }
    }

    /// Brings the heir into its place, step by step.
    pub(super) fn hand_over_agent(&mut self, now: Now, out: &mut Vec<Action>) {
        self.kill_lingering_agent(now, out);
        if self.agent_is_withheld() {
            return;
        }
        let follows = self.heir_may_follow();
        let ready = follows && self.heir().is_some_and(Occupant::is_ready);
        match self.agent() {
            None if follows => self.enthrone(),
            None => {}
            // It never was on duty, or is not any more.
            Some(agent) if ready && !agent.is_on_duty() => self.enthrone(),
            Some(_) if ready => self.ask_to_stand_down(now, out),
            Some(agent) => {
                let in_vain = agent.is_ready() && agent.duty != Duty::Kept;
                if in_vain && self.heir().is_none() && self.agent_is_due(now) {
                    self.spawn_heir(self.adopted, out);
                }
            }
        }
    }

    pub(super) fn ask_to_stand_down(&mut self, now: Now, out: &mut Vec<Action>) {
        let deadline = now + self.policy.stand_down_timeout;
        let place = self.places.edit(Seat::Agent);
        let Some(agent) = place.and_then(|place| place.occupant.as_mut()) else {
            return;
        };
        // One that is leaving already is waited for.
        if agent.is_ready() && agent.is_on_duty() && agent.duty == Duty::Kept {
            agent.duty = Duty::Leaving { deadline };
            out.push(note(agent, EventName::StandingDown, None));
            out.push(Action::StandDown { child: agent.id });
        }
    }

    fn kill_lingering_agent(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(agent) = self.agent().filter(|agent| agent.is_ready()) else {
            return;
        };
        if let Duty::Leaving { deadline } = agent.duty
            && deadline <= now
        {
            let cause = "it did not stand down in time and was killed".to_owned();
            self.kill(agent.id, Some(ExitKind::Replaced), cause, out);
        }
    }

    fn enthrone(&mut self) {
        let Some(place) = self.places.edit(Seat::Agent) else {
            return;
        };
        if place.occupant.is_none() {
            place.occupant = place.successor.take();
        } else {
            let cause = || "another agent took its place".to_owned();
            place.dismiss_occupant(ExitKind::Replaced, cause);
        }
    }

    fn agent_is_due(&self, now: Now) -> bool {
        self.places
            .get(Seat::Agent)
            .is_some_and(|place| place.vacant_until <= now)
    }

    /// When an agent is to be created that nothing but time stands against.
    pub(super) fn next_agent(&self) -> Option<Now> {
        let place = self.places.get(Seat::Agent)?;
        if self.agent_is_withheld() {
            return None;
        }
        let wanted = match &place.occupant {
            None => true,
            Some(agent) => {
                agent.is_ready() && agent.duty != Duty::Kept && place.successor.is_none()
            }
        };
        wanted.then_some(place.vacant_until)
    }
}
