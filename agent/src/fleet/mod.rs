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
//! ([`Fleet::lease`]). Two connections a host, whatever its number of workers.
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
mod hub;
mod keys;
pub mod lease;
mod link;
mod message;
mod presence;
mod random;
mod request;
mod room;
mod session;
mod status;

pub use config::{Address, AddressError, PASSWORD_VARIABLE};
pub use error::{ConnectError, FleetError};
pub use handle::{About, Fleet, check};
pub use hatchery_protocol::boot::FleetBoot;
pub use hub::Subscription;
pub use lease::LeaseHandle;
pub use message::FleetMessage;
pub use presence::{FORGOTTEN_AFTER, FleetMember, MOST_MEMBERS, MemberId};
pub use request::{Answer, Answers};
pub use status::FleetStatus;

use handle::Inner;

/// How long a topic or the name of a lease may be, in bytes.
pub const LONGEST_NAME: usize = 255;
/// How large a payload may be, in bytes.
pub const LARGEST_PAYLOAD: usize = 1024 * 1024;
