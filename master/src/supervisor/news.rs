//! What processes are told about each other, and about the cluster.

use hatchery_protocol::id::{ChildId, Seat};
use hatchery_protocol::message::Member;

use super::action::{Action, Audience, News};
use super::cluster::{Course, Supervisor};
use super::seat::Occupant;

impl Supervisor {
    /// Tells who has come or gone. Before egg-ready only the agent hears of workers: they learn of each other at
    /// once, when all of them are there.
    pub(super) fn tell_news(&mut self, out: &mut Vec<Action>) {
        let agent = self.ready_agent();
        if agent != self.told.agent {
            self.told.agent = agent;
            out.push(Action::Tell {
                to: Audience::Workers,
                news: News::Agent(agent),
            });
        }
        let to = if self.told.everybody {
            Audience::Everybody
        } else {
            Audience::Agent
        };
        let changed = std::mem::take(&mut self.places.changed);
        if !changed.is_empty() {
            let (up, down): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, p)| p.is_some());
            let up = up.into_iter();
            let up = up.filter_map(|(slot, pid)| Some(Member { slot, pid: pid? }));
            let news = News::Workers {
                up: up.collect(),
                down: down.into_iter().map(|(slot, _)| slot).collect(),
            };
            out.push(Action::Tell { to, news });
        }
        if self.is_serving() && !self.told.everybody {
            self.told.everybody = true;
            let news = News::Workers {
                up: self.ready_workers(),
                down: Vec::new(),
            };
            let to = Audience::Workers;
            out.push(Action::Tell { to, news });
        }
    }

    /// Who belongs to an audience, as of the last event. Who is going to leave has no use for news any more.
    pub fn audience(&self, to: Audience) -> impl Iterator<Item = ChildId> {
        let places = self.places.iter().filter(move |place| match to {
            Audience::Agent => place.seat == Seat::Agent,
            Audience::Workers => place.seat != Seat::Agent,
            Audience::Everybody => true,
        });
        let current = places.flat_map(|place| place.occupant.iter().chain(&place.successor));
        current.filter(|p| p.listens()).map(|p| p.id)
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
