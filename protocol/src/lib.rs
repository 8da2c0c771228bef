//! What the processes of a hatchery cluster say to each other, and how.
//!
//! The crate has no runtime of its own: framing is sans-io, descriptors travel through two blocking-free
//! calls, and messages are plain data. It is the only crate that master, agent and worker share, so it
//! knows nothing about HTTP, about supervision or about an application.
//!
//! | module | idea |
//! |---|---|
//! | [`id`] | who is who: role, slot, incarnation, generation |
//! | [`wire`] | frames: a length, a kind, a count of descriptors, a body |
//! | [`message`] | what travels on a link between the master and one child |
//! | [`boot`] | how a child learns what it is |
//! | [`attributes`] | what a child is for the kernel |
//! | [`control`] | what travels on the control socket between an operator and the master |
//! | [`diagnosis`] | what a process that hangs tells about itself |
//! | [`event`] | the lifecycle as data: every step has a name |
//! | [`fd`] | bytes and descriptors over a unix socket |
//! | [`handoff`] | connections from the master to a worker, and their receipts |
//! | [`post`] | messages of the author's processes to each other |
//! | [`socket`] | what accept(2) says |
//! | [`fleet`] | how the link to other hosts is |
//! | [`exit`] | exit codes, documented once |
//! | [`proxy`] | for whom a proxy speaks |
//! | [`schedule`] | what is known of a schedule |
//! | [`section`] | the application's own configuration |
//! | [`secret`] | bytes that nobody may see |
//! | `child` | the child's side of the link (feature `child`) |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod attributes;
pub mod beside;
pub mod boot;
#[cfg(feature = "child")]
pub mod child;
mod children;
pub mod clock;
pub mod control;
pub mod diagnosis;
pub mod event;
pub mod exit;
pub mod fd;
pub mod fleet;
pub mod handoff;
pub mod id;
pub mod message;
pub mod post;
pub mod proxy;
pub mod schedule;
pub mod secret;
pub mod section;
pub mod socket;
mod sys;
pub mod wire;

pub use children::{children, children_of};
pub use sys::{reset_signals, schedule_as_batch, take_variable};

// For who builds without cargo; with it, build.rs has ended the build already.
#[cfg(not(target_os = "linux"))]
compile_error!("hatchery needs Linux: it relies on parent-death signals, pidfds and /proc");

/// The version of everything in this crate that two builds may have to agree on.
///
/// A child that was built with another version refuses to start and says so.
pub const PROTOCOL_VERSION: u32 = 1;
