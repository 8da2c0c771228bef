//! What agent and workers are for the kernel: from what an operator says to what a child is told.
//!
//! Names become numbers here, once at the start, and what this master may not do is refused with a sentence
//! before anything runs. The children do the rest by themselves (`hatchery_protocol::attributes`).
//!
//! | file | idea |
//! |---|---|
//! | `account` | whose processes they are |
//! | `affinity` | which CPUs each slot has |
//! | `look` | how files look to that user |
//! | `nice` | how urgent they are |
//! | `scheduling` | whom they interrupt |

mod account;
mod affinity;
mod look;
mod nice;
mod scheduling;

pub use account::{Account, AccountError, RunAs};
pub use affinity::{AffinityError, CpuAffinity};
pub use look::look_as;
pub use nice::NiceError;
use nice::check_nice;
pub use scheduling::CpuScheduling;

use hatchery_protocol::attributes::Attributes;
use hatchery_protocol::id::Seat;
use thiserror::Error;

/// What is said about all children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildAttributes {
    /// Whose processes they are; not said: the master's user's.
    pub run_as: RunAs,
    /// How urgent they are, from -20 to 19; not said: as the master is.
    pub nice: Option<i32>,
    /// Which CPUs each slot has; not said: those of the master.
    pub cpu_affinity: Option<CpuAffinity>,
    /// Whether workers, and who accepts for them, interrupt what runs when they wake up.
    pub cpu_scheduling: CpuScheduling,
}

/// Why children cannot be so.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AttributesError {
    /// Not that user's or that group's.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Not that urgent.
    #[error(transparent)]
    Nice(#[from] NiceError),
    /// Not there.
    #[error(transparent)]
    Affinity(#[from] AffinityError),
}

impl ChildAttributes {
    /// All that is wrong with them on this host and for this process; `threads` of each worker.
    pub fn problems(&self, threads: u32) -> Vec<AttributesError> {
        let account = self.run_as.find().err().map(Into::into);
        let nice = self.nice.and_then(|nice| check_nice(nice).err());
        let affinity = self.cpu_affinity.as_ref();
        let affinity = affinity.and_then(|affinity| affinity.settle(threads).err());
        let rest = nice.map(Into::into).into_iter();
        account
            .into_iter()
            .chain(rest)
            .chain(affinity.map(Into::into))
            .collect()
    }
}

/// What each child is told, found out.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) account: Option<Account>,
    nice: Option<i32>,
    /// In turn for the slots; empty: nobody is bound.
    cpus: Vec<Vec<u32>>,
    scheduling: CpuScheduling,
}

impl Resolved {
    pub(crate) fn find(said: &ChildAttributes, threads: u32) -> Result<Self, AttributesError> {
        if let Some(nice) = said.nice {
            check_nice(nice)?;
        }
        let cpus = said.cpu_affinity.as_ref().map(|a| a.settle(threads));
        Ok(Self {
            account: said.run_as.find()?,
            nice: said.nice,
            cpus: cpus.transpose()?.unwrap_or_default(),
            scheduling: said.cpu_scheduling,
        })
    }

    pub(crate) fn of(&self, seat: Seat) -> Attributes {
        let cpus = seat.slot().and_then(|slot| {
            let turn = usize::try_from(slot).ok()?.checked_rem(self.cpus.len())?;
            self.cpus.get(turn).cloned()
        });
        Attributes {
            identity: self
                .account
                .as_ref()
                .map(|account| account.identity.clone()),
            nice: self.nice,
            cpus: cpus.unwrap_or_default(),
            batch: seat.slot().is_some() && self.scheduling == CpuScheduling::Batch,
        }
    }
}
