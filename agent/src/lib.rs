//! The agent: the one process of a hatchery cluster that exists once per host.
//!
//! Egg calls it the master's secretary. It serves no HTTP; it runs what must not run N times: schedules,
//! long connections to other systems, watching of configuration. An application implements [`Agent`];
//! [`run`] lives that agent's life between the master's orders.
//!
//! What holds:
//!
//! - no worker is started before [`Agent::start`] has returned;
//! - [`Agent::egg_ready`] runs at most once in a process, after every process is ready;
//! - two agents are never in office at once: the one that is replaced by an upgrade has stood down, or is gone,
//!   before the other one's `egg_ready` runs;
//! - the agent is told to leave only when all workers are gone, so a worker never misses it in a stop.
//!
//! With the feature `fleet`, agents of several hosts work together through Redis: see `fleet`.
//!
//! Not here: HTTP in any form, and knowledge of the workers beyond who they are.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod agent;
mod context;
#[cfg(feature = "fleet")]
pub mod fleet;
mod leader;
mod run;
pub mod schedule;
mod state;

pub use agent::{Agent, NoAgent};
pub use context::AgentContext;
pub use hatchery_protocol::child::BoxError;
pub use hatchery_protocol::child::life::StandDown;
pub use leader::{Feed, LeadError, Leader};
pub use run::run;
