//! The answer to `status`.

use std::fs;

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_protocol::control::{
    AgentStatus, ChildState, ListenerStatus, MasterStatus, Status, WorkerStatus,
};
use hatchery_protocol::id::Seat;
use hatchery_protocol::message::Gauges;

use super::Shell;
use crate::supervisor::SeatReport;

impl Shell {
    pub(super) fn status(&self) -> Status {
        let now = monotonic();
        let report = self.supervisor.report(now);
        let mut agent = AgentStatus {
            pid: None,
            state: ChildState::Waiting,
            restarts: 0,
        };
        let mut workers = Vec::new();
        for seat in report.seats {
            match seat.seat {
                Seat::Agent => {
                    agent = AgentStatus {
                        pid: seat.pid,
                        state: seat.state,
                        restarts: seat.restarts,
                    };
                }
                Seat::Worker(slot) => workers.push(self.worker(slot, seat)),
            }
        }
        Status {
            name: self.config.name.clone(),
            state: report.state,
            generation: report.generation,
            uptime_ms: millis(now.saturating_sub(self.began)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            master: MasterStatus {
                pid: std::process::id(),
            },
            agent,
            workers,
            listeners: self.listener_status(),
        }
    }

    fn worker(&self, slot: u32, seat: SeatReport) -> WorkerStatus {
        let gauges = seat
            .child
            .map(|child| self.gauges(child))
            .unwrap_or_default();
        WorkerStatus {
            slot,
            pid: seat.pid,
            state: seat.state,
            generation: seat.generation,
            restarts: seat.restarts,
            connections: gauges.connections,
            in_flight: gauges.in_flight,
            requests: gauges.requests,
            rss_bytes: seat.pid.and_then(resident).unwrap_or(0),
            lag_ms: millis(gauges.lag),
            last_exit: seat.last_exit,
            last_exit_kind: seat.last_exit_kind,
        }
    }

    fn listener_status(&self) -> Vec<ListenerStatus> {
        let mut accepted = self.accepted_before.clone();
        for process in self.processes.values() {
            for (sum, count) in accepted.iter_mut().zip(process.gauges().accepted) {
                *sum = sum.saturating_add(count);
            }
        }
        self.served
            .iter()
            .zip(accepted)
            .map(|(served, accepted)| ListenerStatus {
                address: served.address.clone(),
                strategy: served.strategy.as_str().to_owned(),
                accepted,
            })
            .collect()
    }

    fn gauges(&self, child: hatchery_protocol::id::ChildId) -> Gauges {
        self.processes
            .get(&child)
            .map(crate::process::Process::gauges)
            .unwrap_or_default()
    }
}

/// Resident memory in bytes: the second field of `/proc/PID/statm`, in pages (proc(5)).
fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
