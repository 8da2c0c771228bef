//! Each worker in turn, the heavier ones more often: for slots that do not have the same work or CPU.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hatchery_protocol::id::Slot;

use super::{Candidate, Choose, Definition, Way, Weights};

pub(super) const STRATEGY: Definition = Definition {
    name: "weighted",
    alias: None,
    way: Way::HandOver(|weights| {
        Box::new(Weighted {
            weights: weights.clone(),
            credits: BTreeMap::new(),
        })
    }),
    uses_weights: true,
    counts_connections: false,
    keeps_clients: false,
};

/// Smooth weighted round robin, as nginx and LVS have it: in each turn every candidate earns its weight,
/// and the richest pays what all of them earned. Turns of a heavy slot are spread, not bunched.
#[derive(Debug)]
struct Weighted {
    weights: Weights,
    credits: BTreeMap<Slot, i64>,
}

impl Choose for Weighted {
    fn choose(&mut self, _client: Option<IpAddr>, candidates: &[Candidate]) -> usize {
        let mut earned = 0;
        let mut richest = (0, i64::MIN);
        // Who is away earns nothing, and what it had does not wait for it: on its return it must not get
        // everything at once.
        let mut credits = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            let weight = i64::from(self.weights.of(candidate.slot));
            let had = self.credits.get(&candidate.slot).copied().unwrap_or(0);
            let credit = had + weight;
            earned += weight;
            credits.insert(candidate.slot, credit);
            if credit > richest.1 {
                richest = (index, credit);
            }
        }
        if let Some(chosen) = candidates.get(richest.0) {
            credits.entry(chosen.slot).and_modify(|c| *c -= earned);
        }
        self.credits = credits;
        richest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::candidates;

    fn weighted(weights: &[u32]) -> Weighted {
        Weighted {
            weights: Weights(weights.to_vec()),
            credits: BTreeMap::new(),
        }
    }

    #[test]
    fn turns_are_in_proportion_and_spread() {
        let mut weighted = weighted(&[5, 1]);
        let three = candidates(&[0, 1, 2]);
        let turns: Vec<_> = (0..7).map(|_| weighted.choose(None, &three)).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn who_was_away_catches_nothing_up() {
        let mut weighted = weighted(&[1, 1]);
        let (both, one) = (candidates(&[0, 1]), candidates(&[0]));
        for _ in 0..100 {
            assert_eq!(weighted.choose(None, &one), 0);
        }
        let turns: Vec<_> = (0..6).map(|_| weighted.choose(None, &both)).collect();
        assert_eq!(
            turns.iter().filter(|index| **index == 1).count(),
            3,
            "{turns:?}"
        );
    }
}
