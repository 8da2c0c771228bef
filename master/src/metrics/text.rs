//! Prometheus' text format, version 0.0.4: names, labels and numbers, a line each.
//!
//! Times are in seconds and memory in bytes, as is the custom there. Counters that can be are there from the
//! beginning, at 0: a rate that begins with the first crash would miss it.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use hatchery_protocol::control::{ChildState, ClusterState, Status, WorkerStatus};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::fleet::{FleetLink, FleetMessages, LinkState};
use hatchery_protocol::id::{Role, Slot};

use super::Counters;

/// What there is to tell beside the status.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// Requests of all processes that ever were.
    pub(crate) requests: u64,
    /// Requests of those in a slot now, by slot.
    pub(crate) living: BTreeMap<Slot, u64>,
    /// The master's own memory, in bytes.
    pub(crate) master_memory: u64,
    /// The agent's.
    pub(crate) agent_memory: Option<u64>,
    /// Messages to and from other hosts, and lost connections, of all agents that ever were.
    pub(crate) fleet: (FleetMessages, u64),
}

/// Writes everything.
pub(crate) fn render(status: &Status, counters: &Counters, sums: &Sums) -> String {
    let mut page = Page::default();
    cluster(&mut page, status, sums);
    lives(&mut page, counters);
    workers(&mut page, status, counters, sums);
    listeners(&mut page, status);
    if let Some(link) = &status.fleet {
        fleet(&mut page, link, sums);
    }
    page.0
}

fn cluster(page: &mut Page, status: &Status, sums: &Sums) {
    let ready = |w: &&WorkerStatus| w.state == ChildState::Ready;
    page.gauge("hatchery_info", "Which application this is, always 1.");
    let labels: [(&str, &dyn Display); 2] = [("name", &status.name), ("version", &status.version)];
    page.line("hatchery_info", &labels, 1);
    page.gauge(
        "hatchery_state",
        "1 for the state the cluster is in, 0 for the others.",
    );
    for state in STATES {
        let now = u8::from(state == status.state);
        page.line("hatchery_state", &[("state", &state.as_str())], now);
    }
    page.gauge("hatchery_uptime_seconds", "Since the master started.");
    page.line("hatchery_uptime_seconds", &[], seconds(status.uptime_ms));
    page.gauge(
        "hatchery_generation",
        "The generation that new processes belong to.",
    );
    page.line("hatchery_generation", &[], status.generation);
    page.gauge(
        "hatchery_workers_desired",
        "How many workers there should be.",
    );
    page.line("hatchery_workers_desired", &[], status.workers.len());
    page.gauge(
        "hatchery_workers_ready",
        "How many slots have a ready worker.",
    );
    page.line(
        "hatchery_workers_ready",
        &[],
        status.workers.iter().filter(ready).count(),
    );
    page.gauge("hatchery_agent_ready", "Whether the agent is ready.");
    page.line(
        "hatchery_agent_ready",
        &[],
        u8::from(status.agent.state == ChildState::Ready),
    );
    page.gauge("hatchery_master_resident_bytes", "Memory of the master.");
    page.line("hatchery_master_resident_bytes", &[], sums.master_memory);
    if let Some(bytes) = sums.agent_memory {
        page.gauge("hatchery_agent_resident_bytes", "Memory of the agent.");
        page.line("hatchery_agent_resident_bytes", &[], bytes);
    }
    page.counter(
        "hatchery_requests_total",
        "Requests begun, by all workers there ever were.",
    );
    page.line("hatchery_requests_total", &[], sums.requests);
}

fn lives(page: &mut Page, counters: &Counters) {
    let roles = [Role::Agent, Role::Worker];
    page.counter("hatchery_spawned_total", "Processes created.");
    for (role, event) in roles
        .into_iter()
        .zip([EventName::AgentSpawned, EventName::WorkerSpawned])
    {
        let count = counters.steps(event, role);
        page.line("hatchery_spawned_total", &[("role", &role)], count);
    }
    page.counter("hatchery_exits_total", "Processes that ended, by how.");
    for role in roles {
        for kind in ExitKind::ALL {
            let labels: [(&str, &dyn Display); 2] = [("role", &role), ("kind", &kind)];
            page.line("hatchery_exits_total", &labels, counters.exits(role, kind));
        }
    }
    page.counter("hatchery_hung_total", "Processes found to hang.");
    for role in roles {
        let count = counters.steps(EventName::Hung, role);
        page.line("hatchery_hung_total", &[("role", &role)], count);
    }
    page.counter(
        "hatchery_recycled_total",
        "Workers that were to be replaced by fresh ones.",
    );
    let recycled = counters.steps(EventName::Recycling, Role::Worker);
    page.line("hatchery_recycled_total", &[], recycled);
    for (name, help, finished, failed) in [
        (
            "hatchery_reloads_total",
            "Reloads, by outcome.",
            EventName::ReloadFinished,
            EventName::ReloadFailed,
        ),
        (
            "hatchery_upgrades_total",
            "Upgrades, by outcome.",
            EventName::UpgradeFinished,
            EventName::UpgradeFailed,
        ),
    ] {
        page.counter(name, help);
        for (outcome, event) in [("finished", finished), ("failed", failed)] {
            let count = counters.steps(event, Role::Master);
            page.line(name, &[("outcome", &outcome)], count);
        }
    }
}

fn workers(page: &mut Page, status: &Status, counters: &Counters, sums: &Sums) {
    let restarts = |w: &WorkerStatus| Some(w.restarts.to_string());
    let requests = |w: &WorkerStatus| {
        let living = sums.living.get(&w.slot).copied().unwrap_or_default();
        Some(
            counters
                .requests_of(w.slot)
                .saturating_add(living)
                .to_string(),
        )
    };
    let of_living = |read: fn(&WorkerStatus) -> String| {
        move |w: &WorkerStatus| w.pid.is_some().then(|| read(w))
    };
    page.counter(
        "hatchery_restarts_total",
        "How many times a seat was filled again.",
    );
    page.line(
        "hatchery_restarts_total",
        &[("role", &Role::Agent)],
        status.agent.restarts,
    );
    for worker in &status.workers {
        let labels: [(&str, &dyn Display); 2] = [("role", &Role::Worker), ("slot", &worker.slot)];
        if let Some(count) = restarts(worker) {
            page.line("hatchery_restarts_total", &labels, count);
        }
    }
    page.counter(
        "hatchery_worker_requests_total",
        "Requests begun by the workers of a slot.",
    );
    page.slots("hatchery_worker_requests_total", status, requests);
    page.gauge(
        "hatchery_worker_ready",
        "Whether the slot has a ready worker.",
    );
    let ready = |w: &WorkerStatus| Some(u8::from(w.state == ChildState::Ready).to_string());
    page.slots("hatchery_worker_ready", status, ready);
    page.gauge(
        "hatchery_worker_generation",
        "The generation of the worker in a slot.",
    );
    page.slots(
        "hatchery_worker_generation",
        status,
        of_living(|w| w.generation.to_string()),
    );
    page.gauge("hatchery_worker_connections", "Open connections.");
    page.slots(
        "hatchery_worker_connections",
        status,
        of_living(|w| w.connections.to_string()),
    );
    page.gauge(
        "hatchery_worker_requests_in_flight",
        "Requests not answered whole.",
    );
    page.slots(
        "hatchery_worker_requests_in_flight",
        status,
        of_living(|w| w.in_flight.to_string()),
    );
    page.gauge("hatchery_worker_resident_bytes", "Memory of the worker.");
    page.slots(
        "hatchery_worker_resident_bytes",
        status,
        of_living(|w| w.rss_bytes.to_string()),
    );
    page.gauge(
        "hatchery_worker_lag_seconds",
        "By how much a timer of the worker was late.",
    );
    page.slots(
        "hatchery_worker_lag_seconds",
        status,
        of_living(|w| seconds(w.lag_ms)),
    );
}

fn listeners(page: &mut Page, status: &Status) {
    page.counter(
        "hatchery_connections_accepted_total",
        "Connections accepted, by address.",
    );
    for listener in &status.listeners {
        let labels: [(&str, &dyn Display); 2] = [
            ("address", &listener.address),
            ("strategy", &listener.strategy),
        ];
        page.line(
            "hatchery_connections_accepted_total",
            &labels,
            listener.accepted,
        );
    }
}

/// Only where a fleet is configured.
fn fleet(page: &mut Page, link: &FleetLink, sums: &Sums) {
    let up = link.state == LinkState::Connected;
    for (name, help, value) in [
        (
            "hatchery_fleet_connected",
            "Whether the fleet's Redis is connected.",
            u64::from(up),
        ),
        (
            "hatchery_fleet_trouble",
            "Whether the link has an error, which status names.",
            u64::from(link.trouble.is_some()),
        ),
        (
            "hatchery_fleet_members",
            "Members of the fleet, as seen from here.",
            link.members,
        ),
        (
            "hatchery_fleet_leases",
            "Leases that this host holds.",
            link.leases,
        ),
    ] {
        page.gauge(name, help);
        page.line(name, &[], value);
    }
    let (messages, losses) = &sums.fleet;
    page.counter(
        "hatchery_fleet_losses_total",
        "Connections to the fleet's Redis that were lost.",
    );
    page.line("hatchery_fleet_losses_total", &[], losses);
    page.counter(
        "hatchery_fleet_messages_total",
        "Messages to and from other hosts, by what became of them.",
    );
    for (outcome, count) in messages.named() {
        let labels: [(&str, &dyn Display); 1] = [("outcome", &outcome)];
        page.line("hatchery_fleet_messages_total", &labels, count);
    }
}

const STATES: [ClusterState; 5] = [
    ClusterState::Starting,
    ClusterState::Ready,
    ClusterState::Degraded,
    ClusterState::Reloading,
    ClusterState::Stopping,
];

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value for each slot that has one.
    fn slots(
        &mut self,
        name: &str,
        status: &Status,
        value: impl Fn(&WorkerStatus) -> Option<String>,
    ) {
        for worker in &status.workers {
            if let Some(value) = value(worker) {
                self.line(name, &[("slot", &worker.slot)], value);
            }
        }
    }

    fn line(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(&text.to_string()));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

/// A label may hold anything, if these three are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::control::{AgentStatus, ListenerStatus, MasterStatus};
    use hatchery_protocol::message::Gauges;

    use super::*;

    fn worker(slot: Slot, pid: Option<u32>) -> WorkerStatus {
        WorkerStatus {
            slot,
            pid,
            state: if pid.is_some() {
                ChildState::Ready
            } else {
                ChildState::Waiting
            },
            generation: 3,
            restarts: 2,
            connections: 5,
            in_flight: 1,
            requests: 100,
            rss_bytes: 4096,
            lag_ms: 12,
            last_exit: None,
            last_exit_kind: None,
        }
    }

    fn page() -> String {
        let status = Status {
            name: "app".into(),
            state: ClusterState::Ready,
            generation: 3,
            uptime_ms: 61_005,
            version: "0.1.0".into(),
            master: MasterStatus {
                pid: 1,
                background: false,
            },
            agent: AgentStatus {
                pid: Some(2),
                state: ChildState::Ready,
                restarts: 1,
                last_exit: None,
                last_exit_kind: None,
            },
            workers: vec![worker(0, Some(3)), worker(1, None)],
            schedules: Vec::new(),
            fleet: Some(FleetLink {
                state: LinkState::Connected,
                members: 3,
                leases: 2,
                ..FleetLink::default()
            }),
            listeners: vec![ListenerStatus {
                address: "unix:/a\"b\\c".into(),
                strategy: "shared".into(),
                accepted: 9,
            }],
        };
        let mut counters = Counters::default();
        let last = Gauges {
            requests: 11,
            ..Gauges::default()
        };
        counters.bury(Some(1), &last);
        counters.bury(Some(0), &last);
        let sums = Sums {
            requests: 122,
            living: BTreeMap::from([(0, 100)]),
            master_memory: 1,
            agent_memory: Some(2),
            fleet: (
                FleetMessages {
                    received: 7,
                    ..FleetMessages::default()
                },
                1,
            ),
        };
        render(&status, &counters, &sums)
    }

    #[test]
    fn values_stand_where_they_are_looked_for() {
        let page = page();
        for line in [
            r#"hatchery_info{name="app",version="0.1.0"} 1"#,
            r#"hatchery_state{state="ready"} 1"#,
            r#"hatchery_state{state="degraded"} 0"#,
            "hatchery_uptime_seconds 61.005",
            "hatchery_workers_desired 2",
            "hatchery_workers_ready 1",
            "hatchery_requests_total 122",
            r#"hatchery_exits_total{role="worker",kind="start-timeout"} 0"#,
            r#"hatchery_reloads_total{outcome="failed"} 0"#,
            r#"hatchery_restarts_total{role="agent"} 1"#,
            r#"hatchery_restarts_total{role="worker",slot="1"} 2"#,
            r#"hatchery_worker_requests_total{slot="0"} 111"#,
            r#"hatchery_worker_requests_total{slot="1"} 11"#,
            r#"hatchery_worker_lag_seconds{slot="0"} 0.012"#,
            r#"hatchery_connections_accepted_total{address="unix:/a\"b\\c",strategy="shared"} 9"#,
            "hatchery_fleet_connected 1",
            "hatchery_fleet_trouble 0",
            "hatchery_fleet_members 3",
            "hatchery_fleet_leases 2",
            "hatchery_fleet_losses_total 1",
            r#"hatchery_fleet_messages_total{outcome="received"} 7"#,
            r#"hatchery_fleet_messages_total{outcome="missed"} 0"#,
        ] {
            assert!(page.lines().any(|l| l == line), "no {line} in\n{page}");
        }
    }

    #[test]
    fn whoever_is_gone_has_no_gauges() {
        let page = page();
        let gone = r#"hatchery_worker_connections{slot="1"}"#;
        assert!(!page.contains(gone), "{page}");
        assert!(
            page.contains(r#"hatchery_worker_ready{slot="1"} 0"#),
            "{page}"
        );
    }

    /// What Prometheus' parser asks for: a type before the first value, each name's lines together, and no
    /// series twice.
    #[test]
    fn the_page_is_well_formed() {
        let page = page();
        let (mut current, mut names, mut series) = (String::new(), Vec::new(), Vec::new());
        for line in page.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(kind == "counter" || kind == "gauge");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                name.clone_into(&mut current);
                names.push(current.clone());
            } else if !line.starts_with("# HELP ") {
                let (id, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(id.split('{').next(), Some(&*current), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                series.push(id);
            }
        }
        for list in [names, series.into_iter().map(str::to_owned).collect()] {
            let mut once = list.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), list.len());
        }
        assert!(page.ends_with('\n'));
    }
}
