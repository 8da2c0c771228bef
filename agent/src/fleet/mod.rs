//! Hosts that work together through Redis (feature `fleet`).
//!
//! ```text
//!  host A                          host B
//!  workers ── agent ──┐        ┌── agent ── workers
//!                     └─ Redis ┘
//! ```
//!
//! One agent of each host is a *member*. Members send each other messages ([`Fleet::broadcast`],
//! [`Fleet::request_all`]), see each other ([`Fleet::members`]), and agree on who does what only one may do
//! ([`Fleet::lease`]). Two connections a host, whatever its number of workers: those reach the fleet through their
//! agent.
//!
//! What holds:
//!
//! - a message arrives at most once, and a sender hears of what was certainly not sent; nothing is kept for later;
//! - a lease is held by one at a time, and its holder stops before another one can have it: see [`lease`];
//! - without Redis every call says so at once, and nothing else of the host is touched;
//! - everything that waits is bounded: messages, questions, answers, members;
//! - a password is read when a connection is made, and kept and shown nowhere.

mod broadcast;
mod config;
mod connect;
mod envelope;
mod error;
mod handle;
mod keys;
pub mod lease;
mod link;
mod presence;
mod random;
mod relay;
mod request;
mod session;
mod status;

pub use config::{Address, AddressError, PASSWORD_VARIABLE};
pub use error::ConnectError;
pub use handle::{About, Fleet, check};
pub use hatchery_protocol::boot::FleetBoot;
pub use hatchery_protocol::child::fleet::{
    Answer, Answers, FleetError, FleetMember, FleetMessage, LARGEST_PAYLOAD, LONGEST_NAME,
    MemberId, Subscription,
};
pub use lease::LeaseHandle;
pub use presence::{FORGOTTEN_AFTER, MOST_MEMBERS};
pub(crate) use relay::serve;
pub use status::FleetStatus;
pub(crate) use status::report;

use handle::Inner;
use hatchery_protocol::child::fleet::{hub, message, room};
