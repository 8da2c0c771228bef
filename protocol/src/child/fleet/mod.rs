//! The hosts that run an application, as every process reaches them.
//!
//! ```text
//!  worker: FleetClient ── broadcast, request_all, members ──► agent ──► Redis ──► agents of other hosts
//!          Subscription ◄────── what it listens to ────────────┘ ◄──────┘
//! ```
//!
//! Agents meet in Redis; everybody else talks to the agent, by the messenger, and has no connection of its own. What is
//! said here is the same in a worker and in an agent: messages, subscriptions, answers, members, errors.
//!
//! What holds:
//!
//! - a message reaches each listener once or not at all, also while one agent takes over from another;
//! - subscriptions outlive the agent;
//! - what waits is bounded: a listener that is too slow misses messages, alone, and can see how many;
//! - a call returns what became of it, or that nobody can know.
//!
//! Not here: Redis, and who passes things on. That is the agent crate's, with its feature `fleet`.
//!
//! | file | idea |
//! |---|---|
//! | `client` | what an author calls |
//! | `voice` | what this process says to its agent about what it listens to |
//! | `ear` | the task that hears, and turns to the next agent |
//! | `once` | what has come already |
//! | `wire` | what travels |
//! | `hub`, `message`, `answers`, `room` | what agent and workers do alike: subscriptions and their queues, messages, answers |

mod answers;
mod client;
mod ear;
mod error;
pub mod hub;
mod member;
pub mod message;
mod once;
pub mod room;
mod voice;
pub mod wire;

pub use answers::{Answer, Answers, Heard};
pub use client::FleetClient;
pub use error::FleetError;
pub use hub::Subscription;
pub use member::{FleetMember, MemberId};
pub use message::FleetMessage;

/// How long a topic or the name of a lease may be, in bytes.
pub const LONGEST_NAME: usize = 255;
/// How large a payload may be, in bytes.
pub const LARGEST_PAYLOAD: usize = 1024 * 1024;
