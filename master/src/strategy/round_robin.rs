//! Each worker in turn, as in Node.

use std::net::IpAddr;

use hatchery_protocol::id::Slot;

use super::{Candidate, Choose, Definition, Way};

pub(super) const STRATEGY: Definition = Definition {
    name: "round-robin",
    alias: Some("rr"),
    way: Way::HandOver(|_| Box::<RoundRobin>::default()),
    uses_weights: false,
    counts_connections: false,
    keeps_clients: false,
};

/// Goes round by slot, so that who is full or gone is skipped and loses its turn, not its place.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    next: Slot,
}

impl Choose for RoundRobin {
    fn choose(&mut self, _client: Option<IpAddr>, candidates: &[Candidate]) -> usize {
        let index = candidates
            .iter()
            .position(|candidate| candidate.slot >= self.next)
            .unwrap_or(0);
        self.next = candidates.get(index).map_or(0, |chosen| chosen.slot + 1);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::candidates;

    #[test]
    fn everybody_gets_the_same_and_who_is_away_is_skipped() {
        let mut rounds = RoundRobin::default();
        let all = candidates(&[0, 1, 2]);
        let two = candidates(&[0, 2]);
        let mut chosen = |candidates: &[Candidate]| {
            let index = rounds.choose(None, candidates);
            candidates[index].slot
        };
        let turns = [&all, &all, &all, &all, &two, &two, &all, &all, &all];
        let chosen: Vec<_> = turns.map(|candidates| chosen(candidates)).into();
        assert_eq!(chosen, [0, 1, 2, 0, 2, 0, 1, 2, 0]);
    }
}
