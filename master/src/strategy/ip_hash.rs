//! For one client's address the same worker: for state that a worker keeps about its clients.

use std::net::IpAddr;

use hatchery_protocol::id::Slot;

use super::round_robin::RoundRobin;
use super::{Candidate, Choose, Definition, Way};

pub(super) const STRATEGY: Definition = Definition {
    name: "ip-hash",
    alias: None,
    way: Way::HandOver(|_| Box::<IpHash>::default()),
    uses_weights: false,
    counts_connections: false,
    keeps_clients: true,
};

/// Rendezvous hashing: every slot bids for a client and the highest bid wins. When a slot goes, only its
/// clients move; when it comes back, only those return. Nobody waits for a slot that is not there.
#[derive(Debug, Default)]
struct IpHash {
    /// For clients without an address.
    turns: RoundRobin,
}

impl Choose for IpHash {
    fn choose(&mut self, client: Option<IpAddr>, candidates: &[Candidate]) -> usize {
        let Some(client) = client else {
            return self.turns.choose(client, candidates);
        };
        let client = digest(client);
        let bids = candidates.iter().map(|c| bid(client, c.slot)).enumerate();
        bids.max_by_key(|(_, bid)| *bid)
            .map_or(0, |(index, _)| index)
    }
}

/// A client as a number.
fn digest(client: IpAddr) -> u64 {
    // One client of a dual-stack socket is one client, however it is written.
    let address = match client {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let parts = address.segments().map(u64::from);
    parts.into_iter().fold(0, |sum, part| mix(sum ^ part))
}

fn bid(client: u64, slot: Slot) -> u64 {
    mix(client ^ u64::from(slot))
}

/// A step of SplitMix64. It is written out because std may change its hasher with any release, and a build that
/// does would send every client to another worker, in the middle of an upgrade, too.
const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::strategy::candidates;

    fn clients() -> impl Iterator<Item = IpAddr> {
        (0..1000).map(|i: u32| Ipv4Addr::from_bits(0x0a00_0000 + i).into())
    }

    fn slot_of(client: IpAddr, slots: &[Slot]) -> Slot {
        let candidates = candidates(slots);
        let index = IpHash::default().choose(Some(client), &candidates);
        candidates[index].slot
    }

    #[test]
    fn a_slot_that_goes_takes_only_its_own_clients() {
        for client in clients() {
            let before = slot_of(client, &[0, 1, 2, 3]);
            let after = slot_of(client, &[0, 1, 3]);
            assert!(before == 2 || before == after, "{client} moved");
        }
    }

    #[test]
    fn clients_are_spread() {
        let mut counts = [0; 4];
        for client in clients() {
            counts[slot_of(client, &[0, 1, 2, 3]) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (200..300).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_client_is_the_same_in_both_notations() {
        for client in clients().take(50) {
            let IpAddr::V4(v4) = client else { continue };
            let mapped = v4.to_ipv6_mapped().into();
            assert_eq!(slot_of(client, &[0, 1, 2]), slot_of(mapped, &[0, 1, 2]));
        }
    }

    /// The step's value is the first of SplitMix64 from 0 in the literature; the slots are what this build gives
    /// to these clients, and every later one has to.
    #[test]
    fn every_build_gives_a_client_the_same_worker() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        let clients = [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::2",
            "::1",
        ];
        let slots =
            clients.map(|client| slot_of(client.parse().unwrap(), &[0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(slots, [6, 2, 1, 7, 0]);
    }

    #[test]
    fn clients_without_an_address_take_turns() {
        let mut strategy = IpHash::default();
        let two = candidates(&[0, 1]);
        let turns: Vec<_> = (0..4).map(|_| strategy.choose(None, &two)).collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }
}
