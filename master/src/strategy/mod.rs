//! How the connections of an address are shared among workers.
//!
//! Each strategy is one file here and one line in [`STRATEGIES`]. Most choose a worker for each connection
//! that the master has accepted ([`Choose`]); two leave the accepting to the workers.
//!
//! | strategy | who accepts | who serves |
//! |---|---|---|
//! | `round-robin` | the master | each worker in turn |
//! | `least-connections` | the master | the worker with the fewest open connections |
//! | `weighted` | the master | each worker in turn, in proportion to the weights |
//! | `ip-hash` | the master | for one client's address the same worker |
//! | `shared` | the workers, from one socket | whoever asks first |
//! | `reuse-port` | the workers, each from a socket of its own | as the kernel spreads clients |

mod ip_hash;
mod least_connections;
mod reuse_port;
mod round_robin;
mod shared;
mod weighted;

pub(crate) use self::reuse_port::for_vacant_slots;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hatchery_protocol::id::Slot;
use thiserror::Error;

/// All there are; the first is the default.
const STRATEGIES: [&Definition; 6] = [
    &round_robin::STRATEGY,
    &least_connections::STRATEGY,
    &weighted::STRATEGY,
    &ip_hash::STRATEGY,
    &shared::STRATEGY,
    &reuse_port::STRATEGY,
];

/// What a strategy is.
pub(crate) struct Definition {
    /// As in `--strategy` and in status.
    name: &'static str,
    /// What others call it.
    alias: Option<&'static str>,
    way: Way,
    /// Whether the weights of the slots matter.
    uses_weights: bool,
    /// Whether it matters how many connections each worker has.
    counts_connections: bool,
    /// Whether a client has a worker of its own, so that it matters who it is, and it is better off waiting for
    /// that one for a while than with another.
    keeps_clients: bool,
}

/// How connections come to workers.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The master accepts, and hands each connection to whom this chooses.
    HandOver(fn(&Weights) -> Box<dyn Choose>),
    /// Workers accept from one socket.
    Shared,
    /// Each worker accepts from a socket of its slot's.
    PerSlot,
}

/// Chooses a worker for each connection.
pub(crate) trait Choose: fmt::Debug + Send {
    /// The index of one of `candidates`: workers that have room, in order of slot, at least one.
    /// `client` is unknown where an address has no clients with addresses: on unix sockets.
    fn choose(&mut self, client: Option<IpAddr>, candidates: &[Candidate]) -> usize;
}

/// A worker that a connection may be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) slot: Slot,
    /// How many connections it has, with those that are on their way to it.
    pub(crate) connections: u64,
}

/// How connections are shared among workers.
///
/// ```
/// use hatchery_master::Strategy;
///
/// let strategy: Strategy = "rr".parse().unwrap();
/// assert_eq!(strategy.as_str(), "round-robin");
/// assert_eq!(strategy, Strategy::default());
/// assert!("luck".parse::<Strategy>().is_err());
/// ```
#[derive(Clone, Copy)]
pub struct Strategy(&'static Definition);

impl Strategy {
    /// The strategy of an application that says nothing else. Node's default, too.
    pub const ROUND_ROBIN: Self = Self(&round_robin::STRATEGY);

    /// Workers accept from one socket: the only way for one that takes no connections, and for programs that are
    /// given sockets.
    pub const SHARED: Self = Self(&shared::STRATEGY);

    /// The name as in `--strategy` and in status.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Whether the weights of the slots matter.
    pub const fn uses_weights(self) -> bool {
        self.0.uses_weights
    }

    /// Whether it needs a port of our own: an address that is TCP and not inherited.
    pub const fn needs_port(self) -> bool {
        matches!(self.0.way, Way::PerSlot)
    }

    pub(crate) const fn keeps_clients(self) -> bool {
        self.0.keeps_clients
    }

    pub(crate) const fn counts_connections(self) -> bool {
        self.0.counts_connections
    }

    pub(crate) const fn way(self) -> Way {
        self.0.way
    }

    /// What there is to choose from, for messages.
    pub(crate) fn names() -> String {
        let name = |definition: &&Definition| match definition.alias {
            Some(alias) => format!("{} (or {alias})", definition.name),
            None => definition.name.to_owned(),
        };
        STRATEGIES.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::ROUND_ROBIN
    }
}

impl PartialEq for Strategy {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Strategy {}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A strategy's name that is none.
#[derive(Debug, Error)]
#[error("`{0}` is not a strategy; known are: {known}", known = Strategy::names())]
pub struct UnknownStrategy(String);

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    /// Takes Node's names, too: `rr` and `none`, as in `NODE_CLUSTER_SCHED_POLICY`.
    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        STRATEGIES
            .into_iter()
            .find(|definition| definition.name == text || definition.alias == Some(text))
            .map(Self)
            .ok_or_else(|| UnknownStrategy(text.to_owned()))
    }
}

/// How much of the connections each slot gets, in proportion to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights(pub Vec<u32>);

impl Weights {
    /// The greatest weight that a slot may have.
    pub const MAX: u32 = 1000;

    /// A slot without a weight of its own has 1.
    pub(crate) fn of(&self, slot: Slot) -> u32 {
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        self.0.get(slot).copied().unwrap_or(1)
    }
}

/// Slots as candidates with no connections.
#[cfg(test)]
fn candidates(slots: &[Slot]) -> Vec<Candidate> {
    let candidate = |slot: &Slot| Candidate {
        slot: *slot,
        connections: 0,
    };
    slots.iter().map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_again() {
        for definition in STRATEGIES {
            for name in [Some(definition.name), definition.alias]
                .into_iter()
                .flatten()
            {
                let strategy: Strategy = name.parse().unwrap();
                assert_eq!(strategy.to_string(), definition.name);
            }
        }
        assert_eq!("rr".parse::<Strategy>().unwrap(), Strategy::default());
        assert_eq!("none".parse::<Strategy>().unwrap().as_str(), "shared");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(
            "luck".parse::<Strategy>().unwrap_err().to_string(),
            "`luck` is not a strategy; known are: round-robin (or rr), least-connections, weighted, \
             ip-hash, shared (or none), reuse-port"
        );
    }
}
