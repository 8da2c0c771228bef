//! What is counted over many lives.

use std::collections::{BTreeMap, HashMap};

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::fleet::FleetMessages;
use hatchery_protocol::id::{Role, Slot};
use hatchery_protocol::message::Gauges;

use crate::supervisor::Note;

/// Counters of one master.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    steps: HashMap<(EventName, Role), u64>,
    exits: HashMap<(Role, ExitKind), u64>,
    /// Requests of processes that are gone.
    requests: u64,
    requests_of_slot: BTreeMap<Slot, u64>,
    /// Connections accepted by processes that are gone, by listener.
    accepted: Vec<u64>,
    /// Messages to and from other hosts, and lost connections, of agents that are gone.
    fleet: (FleetMessages, u64),
}

impl Counters {
    /// A step of the lifecycle.
    pub(crate) fn count(&mut self, note: &Note) {
        let role = note
            .seat
            .map_or(Role::Master, hatchery_protocol::id::Seat::role);
        *self.steps.entry((note.event, role)).or_default() += 1;
        if let Some(kind) = note.exit {
            *self.exits.entry((role, kind)).or_default() += 1;
        }
    }

    /// A process is gone; these were its last words. What a child says about itself is not to be trusted with
    /// the master's life, so nothing here overflows.
    pub(crate) fn bury(&mut self, slot: Option<Slot>, last: &Gauges) {
        self.requests = self.requests.saturating_add(last.requests);
        if let Some(slot) = slot {
            let of_slot = self.requests_of_slot.entry(slot).or_default();
            *of_slot = of_slot.saturating_add(last.requests);
        }
        if self.accepted.len() < last.accepted.len() {
            self.accepted.resize(last.accepted.len(), 0);
        }
        for (sum, count) in self.accepted.iter_mut().zip(&last.accepted) {
            *sum = sum.saturating_add(*count);
        }
        self.fleet = self.fleet(std::iter::once(last));
    }

    /// Messages to and from other hosts, and how often a connection there was lost, by all agents.
    pub(crate) fn fleet<'a>(
        &self,
        living: impl Iterator<Item = &'a Gauges>,
    ) -> (FleetMessages, u64) {
        let links = living.filter_map(|gauges| gauges.fleet);
        links.fold(self.fleet, |(messages, losses), link| {
            (
                messages.plus(link.messages),
                losses.saturating_add(link.losses),
            )
        })
    }

    /// How often that happened to processes of this role.
    pub(crate) fn steps(&self, event: EventName, role: Role) -> u64 {
        self.steps.get(&(event, role)).copied().unwrap_or_default()
    }

    /// How many processes of this role ended in this way.
    pub(crate) fn exits(&self, role: Role, kind: ExitKind) -> u64 {
        self.exits.get(&(role, kind)).copied().unwrap_or_default()
    }

    /// Requests of all processes, those that live and the others.
    pub(crate) fn requests<'a>(&self, living: impl Iterator<Item = &'a Gauges>) -> u64 {
        living.fold(self.requests, |sum, gauges| {
            sum.saturating_add(gauges.requests)
        })
    }

    /// Requests of processes that are gone, and were in this slot.
    pub(crate) fn requests_of(&self, slot: Slot) -> u64 {
        self.requests_of_slot
            .get(&slot)
            .copied()
            .unwrap_or_default()
    }

    /// Connections accepted from each of so many listeners, by all processes.
    pub(crate) fn accepted<'a>(
        &self,
        listeners: usize,
        living: impl Iterator<Item = &'a Gauges>,
    ) -> Vec<u64> {
        let mut sums = self.accepted.clone();
        sums.resize(listeners, 0);
        for gauges in living {
            for (sum, count) in sums.iter_mut().zip(&gauges.accepted) {
                *sum = sum.saturating_add(*count);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::fleet::FleetLink;
    use hatchery_protocol::id::Seat;

    use super::*;

    fn gauges(requests: u64, accepted: &[u64]) -> Gauges {
        Gauges {
            requests,
            accepted: accepted.to_vec(),
            ..Gauges::default()
        }
    }

    #[test]
    fn sums_go_on_over_a_death() {
        let mut counters = Counters::default();
        let old = gauges(10, &[3, 1]);
        assert_eq!(counters.requests([&old].into_iter()), 10);
        counters.bury(Some(1), &old);
        let new = gauges(2, &[1, 0]);
        assert_eq!(counters.requests([&new].into_iter()), 12);
        assert_eq!(counters.requests_of(1), 10);
        assert_eq!(counters.requests_of(0), 0);
        assert_eq!(counters.accepted(2, [&new].into_iter()), [4, 1]);
        assert_eq!(counters.accepted(1, [].into_iter()), [3]);
        counters.bury(Some(1), &gauges(u64::MAX, &[u64::MAX; 9]));
        assert_eq!(counters.requests([&new].into_iter()), u64::MAX);
    }

    #[test]
    fn what_an_agent_sent_to_other_hosts_outlives_it() {
        let mut counters = Counters::default();
        let agent = |sent, losses| Gauges {
            fleet: Some(FleetLink {
                losses,
                messages: FleetMessages {
                    sent,
                    ..FleetMessages::default()
                },
                ..FleetLink::default()
            }),
            ..Gauges::default()
        };
        counters.bury(None, &agent(5, 1));
        counters.bury(Some(0), &gauges(1, &[]));
        let living = [agent(2, 0), gauges(1, &[])];
        let (messages, losses) = counters.fleet(living.iter());
        assert_eq!((messages.sent, losses), (7, 1));
    }

    #[test]
    fn exits_are_counted_by_role_and_kind() {
        let mut counters = Counters::default();
        let exited = |seat, event, kind| Note {
            event,
            seat: Some(seat),
            pid: Some(7),
            generation: 1,
            reason: None,
            exit: Some(kind),
        };
        counters.count(&exited(
            Seat::Worker(3),
            EventName::WorkerExited,
            ExitKind::Hung,
        ));
        counters.count(&exited(
            Seat::Worker(0),
            EventName::WorkerExited,
            ExitKind::Hung,
        ));
        counters.count(&exited(Seat::Agent, EventName::AgentExited, ExitKind::Code));
        assert_eq!(counters.exits(Role::Worker, ExitKind::Hung), 2);
        assert_eq!(counters.exits(Role::Agent, ExitKind::Hung), 0);
        assert_eq!(counters.exits(Role::Agent, ExitKind::Code), 1);
        assert_eq!(counters.steps(EventName::WorkerExited, Role::Worker), 2);
    }
}
