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
//! | `seat` | one place in the cluster and the processes that hold it |
//! | `places` | all places, and lists of those that something is to be done about |
//! | `cluster` | the state of the whole: events in |
//! | `reconcile` | the state of the whole: actions out |
//! | `children` | processes exist, are ready, fail and die |
//! | `news` | what they are told about each other |
//! | `hang` | those that do not answer |
//! | `recycle` | those that have worked enough |
//! | `agent` | from one agent to the next |
//! | `reload` | all slots to a new generation, or none |
//! | `scale` | more slots, or fewer |
//! | `upgrade` | a new master in the place of this one |
//! | `stop` | the way out |
//! | `report` | the state of the whole, for people |

mod action;
mod agent;
mod children;
mod cluster;
mod event;
mod hang;
mod news;
mod places;
mod policy;
mod reconcile;
mod recycle;
mod reload;
mod report;
#[cfg(test)]
mod rules;
mod scale;
mod seat;
mod stop;
mod upgrade;

pub use action::{Action, Audience, News, Note};
pub use cluster::Supervisor;
pub use event::{Death, Event, Now, Order, Scale, Status, SuccessorNews};
pub use policy::{Backoff, Policy, Recycle};
pub use report::{Report, SeatReport};
pub use seat::Phase;
