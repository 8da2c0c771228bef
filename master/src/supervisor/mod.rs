//! The heart: what has to happen next, and nothing else.
//!
//! A [`Supervisor`] is a value. It is told what happened ([`Event`]) and when, and says what to do
//! ([`Action`]). It has no clock, does no I/O and knows no randomness, so the same events give the same
//! actions and a year of a cluster's life can be lived in a second (see `tests/simulator`).
//!
//! Every call ends in one *reconcile*: what is wanted is compared with what is, and the difference
//! becomes actions. So an event that comes twice, late or never can delay the right thing but not
//! prevent it. Deadlines are kept in the state they belong to; [`Supervisor::deadline`] is the earliest
//! of them and the caller needs a single timer.
//!
//! | file | idea |
//! |---|---|
//! | `event` | what can happen |
//! | `action` | what can be done |
//! | `policy` | how long, how many, how patient |
//! | `seat` | one place in the cluster and the process that holds it |
//! | `cluster` | the state of the whole: events in |
//! | `reconcile` | the state of the whole: actions out |
//! | `report` | the state of the whole, for people |

mod action;
mod cluster;
mod event;
mod policy;
mod reconcile;
mod report;
#[cfg(test)]
mod rules;
mod seat;

pub use action::{Action, News, Note};
pub use cluster::Supervisor;
pub use event::{Death, Event, Now, Order, Scale, Status, SuccessorNews};
pub use policy::{Backoff, Policy, Recycle};
pub use report::{Report, SeatReport};
pub use seat::Phase;
