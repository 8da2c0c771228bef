//! A master that hands everything over to a newer one: `upgrade`.
//!
//! ```text
//!  old master                                   new master (the executable on disk, run again)
//!    │ spawn, with a socket as standard input ───►│
//!    │ hello, estate: lock, sockets, secret ─────►│ reads its own configuration, takes the estate over,
//!    │◄──────────────── hello, preparing, child ──│ starts its agent and its workers
//!    │◄──────────────────────────────────── ready │ everybody is ready; nobody accepts, nobody hatched
//!    │ the old agent stands down                  │
//!    │ commit ───────────────────────────────────►│ addresses listen, egg-ready
//!    │◄────────────────────────────────── serving │
//!    │ drains its workers                         ▼
//!    │ run ended ────────────────────────────────►│ for schedules whose runs go on there
//!    │ ends
//! ```
//!
//! What holds:
//!
//! - The whole estate is in the socket before the new process exists. Whenever the old master dies, the new
//!   one has the lock and every listening socket, and goes on alone.
//! - Descriptors are shared, not opened again: there is no moment without the lock or without an address.
//! - Until it serves, the new master removes no file and tells no client anything. Whatever happens to it
//!   before that, the old master goes on as if nothing had been.
//! - Each side knows every process of the other's that may run what must run once, by pidfd, and before that
//!   process knows what it is. Whoever goes on waits until those are gone.
//!
//! | file | idea |
//! |---|---|
//! | `wire` | what the two say to each other |
//! | `estate` | what is handed over |
//! | `channel` | messages and descriptors over the socket between them |
//! | `successor` | the new master, seen by the old one |
//! | `attendant` | the task that goes along with the new master |
//! | `predecessor` | the old master, seen by the new one |

mod attendant;
mod channel;
mod estate;
mod predecessor;
mod successor;
mod wire;

pub(crate) use estate::{Estate, Inheritable};
pub(crate) use predecessor::{Correspondence, Decision, Legacy, Will};
pub use predecessor::{Predecessor, SuccessionError};
pub(crate) use successor::Successor;
