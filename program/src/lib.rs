//! The worker that is another program: one that was not written with hatchery, but takes its listening
//! sockets as systemd hands them over (`LISTEN_FDS`, sd_listen_fds(3)).
//!
//! The process that the master knows is the *keeper*. It speaks the link like every worker, and keeps exactly
//! one program below it:
//!
//! ```text
//!  master ── link ── keeper ── NOTIFY_SOCKET, signals, pipes ── the program ── its own children
//!                      │                                            │
//!                      └── the listening sockets, from the master ──┘  as descriptors 3, 4, ...
//! ```
//!
//! So the master has no special case: a start, a reload, a crash loop or a stop is the keeper's, who
//! translates. What holds:
//!
//! - nothing of the program outlives its keeper: it is in the keeper's process group, has a parent-death
//!   signal, and whoever detached itself below it comes back to the keeper and is killed;
//! - the keeper is ready when the program is, by the word of the program or by what can be seen of it;
//! - the end of the program is the end of the keeper, who tells how it was.
//!
//! Not here, because a program that knows nothing of hatchery cannot have part in it: egg-ready, messages,
//! hang detection, figures about requests. Connections are accepted by the program itself, so only strategies
//! under which workers accept from a socket that listens at the start are of use: `shared`.

#![forbid(unsafe_code)]

mod ending;
mod exec;
mod find;
mod launch;
mod life;
mod notify;
mod output;
mod probe;
mod readiness;
mod remains;

pub use exec::Exec;
pub use find::{FindError, find};
pub use life::run;
