//! Which policy of the kernel's scheduler workers have, and the thread that accepts for them.
//!
//! A process that wakes up may interrupt the one that runs. A worker that does so for each request finds one
//! request each time; one that waits until the CPU is free finds several, answers them in one turn and is
//! switched to less often. It is the same with the accept thread, which each receipt would wake up in the middle
//! of a worker's turn. That is what `SCHED_BATCH` is for: workloads that want to be scheduled without
//! "interactivity causing extra preemptions (between the workload's tasks)" (sched(7)). It needs no right, and
//! changes nothing as long as a CPU is idle, nor how much of a busy one each gets.

use std::fmt;
use std::str::FromStr;

use hatchery_protocol::schedule_as_batch;

/// How workers are scheduled among what else wants the CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CpuScheduling {
    /// `SCHED_BATCH`: they interrupt nobody when they wake up. A master with another policy than the usual one
    /// passes that on instead.
    #[default]
    Batch,
    /// As the master is.
    Inherit,
}

impl CpuScheduling {
    /// Takes it on for the calling thread. Who may not, for a filter of system calls, stays as it is.
    pub(crate) fn take_on(self) {
        if self == Self::Batch {
            let _ = schedule_as_batch();
        }
    }
}

impl fmt::Display for CpuScheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batch => "batch",
            Self::Inherit => "inherit",
        })
    }
}

impl FromStr for CpuScheduling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "batch" => Ok(Self::Batch),
            "inherit" => Ok(Self::Inherit),
            _ => Err("it must be batch or inherit".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_shown_again() {
        for text in ["batch", "inherit"] {
            assert_eq!(text.parse::<CpuScheduling>().unwrap().to_string(), text);
        }
        for text in ["", "Batch", "other", "fifo"] {
            let error = text.parse::<CpuScheduling>().unwrap_err();
            assert_eq!(error, "it must be batch or inherit", "{text}");
        }
    }
}
