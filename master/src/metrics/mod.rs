//! The cluster in numbers, for machines that draw curves.
//!
//! Counters are the master's: they go on over the death and the replacement of any process, and only ever grow
//! while the master lives. Gauges are of processes that live: a process that is gone takes its own along.
//!
//! | file | idea |
//! |---|---|
//! | `counters` | what is counted over many lives |
//! | `text` | how it is written: Prometheus' text format |

mod counters;
mod text;

pub(crate) use counters::Counters;
pub(crate) use text::{Sums, render};
