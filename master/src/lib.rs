//! The master process of a hatchery cluster: it binds, starts, watches, replaces and stops everything
//! else. It runs no user code and serves no HTTP.
//!
//! A pure [`supervisor`] decides; an imperative shell around it performs. The master runs on one thread,
//! the main one: the kernel's parent-death signal follows the thread that created a child, so children
//! must be created by a thread that lives as long as the master.
//!
//! With [`Config::single`] children are threads of this process instead. Their code is handed in by the program around the
//! master ([`Front::part`]), and never runs on the master's own thread.
//!
//! What this crate refuses to do: to end because of anything a child, a client or a disk does; to parse
//! what children say to each other; to signal a process by a number that may have been given to another.

mod attributes;
mod cgroup;
mod config;
mod control;
mod diagnosis;
mod ended;
mod executable;
mod front;
mod handoff;
mod journal;
mod launch;
mod ledger;
mod link;
mod listener;
mod metrics;
mod notify;
mod orphans;
mod output;
mod pid_file;
mod post;
mod proc;
mod process;
mod reactor;
mod reserve;
mod roll;
mod runtime_dir;
mod shell;
mod signals;
mod spawn;
mod strategy;
mod succession;
pub mod supervisor;
mod sys;
mod thread;

pub use attributes::{
    Account, AccountError, AffinityError, AttributesError, ChildAttributes, CpuAffinity,
    CpuScheduling, NiceError, RunAs, look_as,
};
pub use cgroup::usable_cpus;
pub use config::Config;
pub use front::{Front, Reread};
pub use launch::{LaunchError, Launched, Launcher, launch_daemon};
pub use listener::{
    Address, AddressError, Conflict, Inherited, Listen, ListenError, OpeningOptions, Owner,
    TcpOptions, UnixOptions, UnknownOwner, check_addresses,
};
pub use runtime_dir::{
    CONTROL_SOCKET, LOCK, RuntimeDirError, check_runtime_dir, default_runtime_dir,
};
pub use shell::{StartedBy, run};
pub use strategy::{Strategy, UnknownStrategy, Weights};
pub use succession::{Predecessor, SuccessionError};
pub use supervisor::Recycle;
pub use thread::Part;
