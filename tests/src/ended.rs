//! A cluster that has ended.

use std::time::Duration;

use crate::event::{Event, Step, names, position};
use crate::plan::Plan;
use crate::trace::Hook;
use crate::wait::LATE;

/// A master that is gone, and what it left.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// What it and its children wrote on standard output.
    pub stdout: String,
    /// What they wrote on standard error.
    pub stderr: String,
    /// All events.
    pub events: Vec<Event>,
    /// All hooks.
    pub trace: Vec<Hook>,
    /// Keeps the directory, for a look at what is left in it.
    pub plan: Plan,
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Asserts that standard error contains each of these.
    #[track_caller]
    pub fn expect_stderr(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no `{word}` in:\n{}",
                self.stderr
            );
        }
        self
    }

    /// Asserts that no such event was recorded.
    #[track_caller]
    pub fn expect_no(&self, unwanted: impl Into<Step>) -> &Self {
        let unwanted = unwanted.into();
        assert!(
            !self.events.iter().any(|event| unwanted.fits(event)),
            "{unwanted} among {}",
            names(&self.events)
        );
        self
    }

    /// Milliseconds between the first events of two kinds.
    #[track_caller]
    pub fn millis_between(&self, from: impl Into<Step>, to: impl Into<Step>) -> u64 {
        let (from, to) = (from.into(), to.into());
        let from = &self.events[position(&self.events, from)];
        let to = &self.events[position(&self.events, to)];
        to.ts_ms.saturating_sub(from.ts_ms)
    }

    /// From the beginning of the stop to the last event.
    #[track_caller]
    pub fn stop_took(&self) -> Duration {
        Duration::from_millis(self.millis_between("stopping", "stopped"))
    }

    /// Asserts that the stop took at most this time, give or take what a busy machine may be late.
    #[track_caller]
    pub fn expect_stop_within(&self, time: Duration) -> &Self {
        let took = self.stop_took();
        assert!(took <= time + LATE, "the stop took {took:?}, not {time:?}");
        self
    }

    /// Positions of the hooks of this name.
    pub fn hooks(&self, hook: &str) -> Vec<(usize, &Hook)> {
        self.trace
            .iter()
            .enumerate()
            .filter(|(_, line)| line.hook == hook)
            .collect()
    }
}
