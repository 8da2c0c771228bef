//! The worker with the fewest open connections: for connections that differ much in how long they live.

use std::net::IpAddr;

use super::round_robin::RoundRobin;
use super::{Candidate, Choose, Definition, Way};

pub(super) const STRATEGY: Definition = Definition {
    name: "least-connections",
    alias: None,
    way: Way::HandOver(|_| Box::<LeastConnections>::default()),
    uses_weights: false,
    counts_connections: true,
    keeps_clients: false,
};

/// Among equals it goes round: the first slot must not get everything on a quiet day.
#[derive(Debug, Default)]
struct LeastConnections {
    equals: RoundRobin,
}

impl Choose for LeastConnections {
    fn choose(&mut self, client: Option<IpAddr>, candidates: &[Candidate]) -> usize {
        let fewest = candidates.iter().map(|c| c.connections).min();
        let (indexes, equals): (Vec<_>, Vec<_>) = candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| Some(candidate.connections) == fewest)
            .map(|(index, candidate)| (index, *candidate))
            .unzip();
        let chosen = self.equals.choose(client, &equals);
        indexes.get(chosen).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_and_among_equals_in_turn() {
        let mut least = LeastConnections::default();
        let mut connections = [3, 1, 0, 1];
        let mut chosen = Vec::new();
        for _ in 0..9 {
            let candidates: Vec<_> = (0..)
                .zip(connections)
                .map(|(slot, connections)| Candidate { slot, connections })
                .collect();
            let index = least.choose(None, &candidates);
            connections[index] += 1;
            chosen.push(index);
        }
        assert_eq!(chosen, [2, 3, 1, 2, 3, 1, 2, 3, 0]);
    }
}
