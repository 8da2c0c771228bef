//! The child's side: how an agent or a worker lives with its master.
//!
//! ```text
//!  main ── Origin::detect ── Origin::boot ── Child ── life::run(role)
//!                               │                        │
//!                      arms parent death          runs the hooks on the
//!                      starts the watch thread    author's runtime
//! ```
//!
//! One small OS thread, the *watch*, owns the reading end of the link. It answers the master's beats,
//! notices the master's death in three independent ways and ends the process when its grace is over,
//! whatever the runtime is doing: a worker that spins on the CPU still dies with its master.
//!
//! Not here: what a role does with its life. That is a [`life::Life`] of the agent or worker crate.

mod attributes;
mod boot;
mod configured;
mod context;
pub mod fleet;
pub mod follower;
pub mod gauge;
mod group;
mod hook;
pub mod job;
pub mod life;
mod link;
mod liveness;
pub mod members;
pub mod messenger;
mod news;
mod output;
mod schedules;
mod shared;
mod shutdown;
mod signals;
mod sockets;
pub mod state;
pub mod thread;
mod watch;

pub use crate::sys::watched;
pub use attributes::AttributeError;
pub use boot::{BootError, Child, Origin};
pub use context::Context;
pub use follower::Follower;
pub use hook::HookError;
pub use job::Job;
pub use members::Members;
pub use messenger::Messenger;
pub use schedules::{RunVoice, ScheduleLink, ScheduleVoice};
pub use shutdown::{DrainCause, Draining, Shutdown};
pub use sockets::Sockets;
pub use state::State;
/// Told to handlers and to the agent's loops that open-ended work has to end.
pub use tokio_util::sync::CancellationToken;

/// Any error an author's hook may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
