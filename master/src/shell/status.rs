//! The answers to `status` and `metrics`.

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_protocol::control::{
    AgentStatus, ChildState, ListenerStatus, MasterStatus, Status, WorkerStatus,
};
use hatchery_protocol::fleet::FleetLink;
use hatchery_protocol::id::Seat;
use hatchery_protocol::message::Gauges;

use super::Shell;
use crate::metrics::{Sums, render};
use crate::proc::{family, resident, together};
use crate::process::Process;
use crate::supervisor::SeatReport;

impl Shell {
    pub(super) fn status(&self) -> Status {
        let now = monotonic();
        let report = self.supervisor.report();
        let mut agent = AgentStatus {
            pid: None,
            state: ChildState::Waiting,
            restarts: 0,
            last_exit: None,
            last_exit_kind: None,
        };
        let mut fleet = FleetLink::default();
        let mut workers = Vec::new();
        for seat in report.seats {
            match seat.seat {
                Seat::Agent => {
                    agent = AgentStatus {
                        pid: seat.pid,
                        state: seat.state,
                        restarts: seat.restarts,
                        last_exit: seat.last_exit,
                        last_exit_kind: seat.last_exit_kind,
                    };
                    let told = seat.child.and_then(|child| self.gauges(child).fleet);
                    fleet = told.unwrap_or_default();
                }
                Seat::Worker(slot) => workers.push(self.worker(slot, seat)),
            }
        }
        Status {
            name: self.adopted.config.name.clone(),
            state: report.state,
            generation: report.generation,
            uptime_ms: millis(now.saturating_sub(self.began)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            master: MasterStatus {
                pid: std::process::id(),
                background: self.background,
            },
            agent,
            workers,
            listeners: self.listener_status(),
            schedules: self.ledger().known(),
            // Where there should be one and nobody has told, that is what is known.
            fleet: self.adopted.config.fleet.is_some().then_some(fleet),
        }
    }

    /// The same in numbers, and what was counted since the master started.
    pub(super) fn metrics(&self) -> String {
        let status = self.status();
        let mut sums = Sums {
            master_memory: resident(status.master.pid).unwrap_or(0),
            agent_memory: status.agent.pid.and_then(resident),
            ..Sums::default()
        };
        let mut living = Vec::new();
        for (child, process) in &self.processes {
            let gauges = process.gauges();
            if let Some(slot) = child.seat.slot() {
                // During a replacement a slot has two.
                let of_slot = sums.living.entry(slot).or_default();
                *of_slot = of_slot.saturating_add(gauges.requests);
            }
            living.push(gauges);
        }
        sums.requests = self.counters.requests(living.iter());
        sums.fleet = self.counters.fleet(living.iter());
        render(&status, &self.counters, &sums)
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
            rss_bytes: seat.pid.and_then(|pid| self.memory_of(pid)).unwrap_or(0),
            lag_ms: millis(gauges.lag),
            last_exit: seat.last_exit,
            last_exit_kind: seat.last_exit_kind,
        }
    }

    /// Of a worker, with the program that it keeps.
    fn memory_of(&self, pid: u32) -> Option<u64> {
        if self.adopted.config.program.is_some() {
            together(&family(pid), resident)
        } else {
            resident(pid)
        }
    }

    fn listener_status(&self) -> Vec<ListenerStatus> {
        let living: Vec<Gauges> = self.processes.values().map(Process::gauges).collect();
        let accepted = self.counters.accepted(self.served.len(), living.iter());
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
            .map(Process::gauges)
            .unwrap_or_default()
    }
}
