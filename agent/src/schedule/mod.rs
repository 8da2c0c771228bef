//! Schedules: what an application runs at certain times, once per host.
//!
//! ```text
//!  spec ── plan ──► book ◄── time, ends of runs, commands
//!  (said)  (checked)  │
//!                     └──► runner ──► a worker, all workers, or this process
//! ```
//!
//! The book decides and is pure; the runner performs. Workers run jobs without knowing of schedules. What a whole fleet
//! of hosts runs once is run by the host that has the *turn*: `runner/turns` sees to it, and with the feature `fleet` a
//! lease says who that is.
//!
//! Not here: memory of what was run before the cluster started, unless a fleet remembers it.

mod book;
mod clock;
mod host;
mod office;
mod plan;
#[cfg(feature = "fleet")]
mod post;
mod runner;
mod spec;
mod tick;

pub(crate) use office::Office;

pub use hatchery_protocol::child::Job;
pub use hatchery_protocol::schedule::{Cause, MAX_SCHEDULES};
pub use plan::{MAX_DURATION, MAX_NAME, MIN_INTERVAL, ScheduleError};
pub use spec::{Missed, Overlap, Schedule};
