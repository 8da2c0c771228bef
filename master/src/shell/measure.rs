//! Measuring the memory of workers, once a second, where there is a limit.
//!
//! Resident memory is cheap to ask for, but counts what workers share for each of them in full: eight workers
//! that map one large file would all seem large. So it is only the first look. Who is over the limit by it is
//! measured again, by what is its own (see [`proportional`]), and that is what counts. The second look can
//! take milliseconds for a large process, so all of it happens on a thread beside the loop, and a round begins
//! when the one before has ended.
//!
//! A worker that keeps a program is small itself; what it keeps counts, with all that lives below it.

use hatchery_protocol::beside::beside;
use hatchery_protocol::id::{ChildId, Role};
use tokio::sync::mpsc;

use super::{Input, Shell};
use crate::proc::{family, proportional, resident, together};
use crate::supervisor::{Event, Recycle};

impl Shell {
    /// Measures all workers, if there is a limit and nobody is at it.
    pub(super) fn measure_memory(&mut self) {
        let Some(limit) = lowest(&self.adopted.config.recycle) else {
            return;
        };
        if self.measuring.as_ref().is_some_and(|m| !m.is_finished()) {
            return;
        }
        let workers: Vec<(ChildId, u32)> = self
            .processes
            .iter()
            .filter(|(child, _)| child.seat.role() == Role::Worker)
            .map(|(child, process)| (*child, process.id()))
            .collect();
        let inputs = self.inputs.clone();
        let look: fn(u32) -> Vec<u32> = if self.adopted.config.program.is_some() {
            family
        } else {
            alone
        };
        let work = move || measure(&workers, look, limit, &inputs);
        match beside(work) {
            Ok(measuring) => self.measuring = Some(measuring),
            // Memory grows slower than that; the next round is a second away.
            Err(error) => tracing::warn!("the memory of workers cannot be measured now: {error}"),
        }
    }
}

/// A worker that is the application itself. What it starts is its own affair.
fn alone(pid: u32) -> Vec<u32> {
    vec![pid]
}

/// The lowest limit there is.
fn lowest(recycle: &Recycle) -> Option<u64> {
    let limits = [recycle.max_memory, recycle.kill_memory];
    limits.into_iter().filter(|limit| *limit > 0).min()
}

/// Reports those that have more than the limit.
fn measure(
    workers: &[(ChildId, u32)],
    look: fn(u32) -> Vec<u32>,
    limit: u64,
    inputs: &mpsc::Sender<Input>,
) {
    for (child, pid) in workers {
        let pids = look(*pid);
        let Some(bytes) = together(&pids, resident).filter(|bytes| *bytes >= limit) else {
            continue;
        };
        let bytes = together(&pids, proportional).unwrap_or(bytes);
        if bytes < limit {
            continue;
        }
        let child = *child;
        let _ = inputs.blocking_send(Input::Happened(Event::Memory { child, bytes }));
    }
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::id::Seat;

    use super::*;

    #[test]
    fn who_has_too_much_is_reported() {
        let child = |slot| ChildId {
            seat: Seat::Worker(slot),
            incarnation: 1,
        };
        let own = std::process::id();
        let (inputs, mut heard) = mpsc::channel(8);
        let nobody = 1 << 23;
        let has = proportional(own).unwrap();
        let workers = [(child(0), own), (child(1), nobody)];
        measure(&workers, alone, has / 2, &inputs);
        measure(&[(child(2), own)], alone, u64::MAX, &inputs);
        let Ok(Input::Happened(Event::Memory { child: who, bytes })) = heard.try_recv() else {
            panic!("nothing was reported");
        };
        assert!(who == child(0) && bytes >= has / 2);
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn the_lowest_limit_counts() {
        let limits = |max_memory, kill_memory| Recycle {
            max_memory,
            kill_memory,
            ..Recycle::default()
        };
        for (soft, hard, expected) in [
            (0, 0, None),
            (5, 0, Some(5)),
            (0, 7, Some(7)),
            (5, 7, Some(5)),
        ] {
            assert_eq!(lowest(&limits(soft, hard)), expected);
        }
    }
}
