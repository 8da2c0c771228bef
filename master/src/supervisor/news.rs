//! What processes are told about each other, and about the cluster.

use hatchery_protocol::id::{ChildId, Seat};

use super::action::{Action, News};
use super::cluster::{Course, Supervisor};
use super::seat::Occupant;

impl Supervisor {
    /// Tells who is ready when that is not what was told last. Before egg-ready only the agent hears of
    /// workers: they learn of each other at once, when all of them are there.
    pub(super) fn tell_news(&mut self, out: &mut Vec<Action>) {
        let serving = self.is_serving();
        let agent = self.ready_agent();
        let mut changed = std::mem::take(&mut self.places.members_changed);
        if serving && !self.told.everybody {
            self.told.everybody = true;
            changed = true;
        }
        if agent != self.told.agent {
            self.told.agent = agent;
            self.tell(News::Agent(agent), |seat| seat != Seat::Agent, out);
        }
        if changed {
            let heard_by = |seat| serving || seat == Seat::Agent;
            self.tell(News::Workers(self.ready_workers()), heard_by, out);
        }
    }

    fn tell(&self, news: News, hears: impl Fn(Seat) -> bool, out: &mut Vec<Action>) {
        let places = self.places.iter().filter(|place| hears(place.seat));
        // Who is going to be told to leave has no use for news any more.
        let current = places.flat_map(|place| place.occupant.iter().chain(&place.successor));
        let to: Vec<ChildId> = current.filter(|p| p.listens()).map(|p| p.id).collect();
        if !to.is_empty() {
            out.push(Action::Tell { to, news });
        }
    }

    /// Tells each ready process once that everybody is. An agent hears it when no other one can be doing
    /// what may be done only once.
    pub(super) fn hatch(&mut self, out: &mut Vec<Action>) {
        let mut seats = self.places.fresh();
        if seats.first() != Some(&Seat::Agent) {
            // What it waited for may have happened elsewhere.
            seats.insert(0, Seat::Agent);
        }
        for seat in seats {
            if seat == Seat::Agent && !self.agent_may_hatch() {
                continue;
            }
            let unhatched = |o: &Occupant| o.is_ready() && !o.hatched;
            let occupant = self
                .places
                .get(seat)
                .and_then(|place| place.occupant.as_ref());
            if !occupant.is_some_and(unhatched) {
                continue;
            }
            if let Some(occupant) = self.places.edit(seat).and_then(|p| p.occupant.as_mut()) {
                occupant.hatched = true;
                out.push(Action::EggReady { child: occupant.id });
            }
        }
    }

    /// Tells each process once that a stop is to come. One that is still being created hears it then.
    pub(super) fn forewarn(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.course, Course::Announced { .. }) {
            return;
        }
        for seat in self.places.fresh() {
            let Some(place) = self.places.edit(seat) else {
                continue;
            };
            let current = place.occupant.iter_mut().chain(&mut place.successor);
            for process in current.filter(|p| p.listens() && p.pid.is_some() && !p.forewarned) {
                process.forewarned = true;
                out.push(Action::Announce { child: process.id });
            }
        }
    }
}
