//! One test per rule, each a story of a few lines.
//!
//! A story is told to a [`bench::Bench`]: what happens on the left, what the supervisor does about it on
//! the right, both in words. Processes have names: `agent` and `w0` are the first ones in their seats,
//! `agent.2` and `w0.2` the ones that came after them.

mod announced_stop;
mod bench;
mod closing;
mod crash_loops;
mod failed_start;
mod hangs;
mod healing;
mod news;
mod orders;
mod recycling;
mod reload;
mod reload_among_deaths;
mod scaling;
mod singletons;
mod stale;
mod start;
mod stop;
mod stop_during_start;
mod upgrade;
mod without_healing;
mod words;
