//! `status`: the running application at one glance.

use std::time::Duration;

use bytesize::ByteSize;
use hatchery_protocol::control::{Reply, Request, Status};
use hatchery_protocol::exit::Exit;
use hatchery_protocol::fleet::{FleetLink, LinkState};

use super::client::Client;
use super::table::aligned;
use super::{Outcome, say, schedule};

/// Asks the master and prints what it says.
pub(super) fn run(client: &Client, json: bool) -> Outcome {
    let status = match client.ask(&Request::Status)? {
        Reply::Status(status) => status,
        Reply::Metrics { .. }
        | Reply::Event(_)
        | Reply::Error { .. }
        | Reply::Note { .. }
        | Reply::Finished { .. } => {
            return Err(client.failed("the master answered something else than its status"));
        }
    };
    if json {
        say::answer(serde_json::to_string(&status).map_err(|e| client.failed(&e.to_string()))?);
    } else {
        say::answer(readable(&status).trim_end());
    }
    Ok(Exit::Orderly)
}

fn readable(status: &Status) -> String {
    let uptime = Duration::from_secs(status.uptime_ms / 1000);
    let mut text = format!(
        "{} is {}, up {}, generation {}, hatchery {}\n\n{}\n{}",
        status.name,
        status.state.as_str(),
        humantime::format_duration(uptime),
        status.generation,
        status.version,
        aligned(&processes(status)),
        aligned(&listeners(status)),
    );
    if let Some(link) = &status.fleet {
        text.push('\n');
        text.push_str(&aligned(&fleet(link)));
    }
    if !status.schedules.is_empty() {
        text.push('\n');
        text.push_str(&schedule::readable(
            &status.schedules,
            schedule::wall_clock(),
        ));
    }
    text
}

fn processes(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "PROCESS",
        "PID",
        "STATE",
        "GEN",
        "RESTARTS",
        "CONNECTIONS",
        "IN FLIGHT",
        "REQUESTS",
        "MEMORY",
        "LAG",
        "LAST EXIT",
    ])];
    let pid = |pid: Option<u32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    rows.push(vec!["master".into(), status.master.pid.to_string()]);
    let agent = &status.agent;
    rows.push(vec![
        "agent".into(),
        pid(agent.pid),
        agent.state.as_str().into(),
        String::new(),
        agent.restarts.to_string(),
        // What follows is of those who have clients.
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        agent.last_exit.clone().unwrap_or_default(),
    ]);
    for worker in &status.workers {
        rows.push(vec![
            format!("worker {}", worker.slot),
            pid(worker.pid),
            worker.state.as_str().into(),
            worker.generation.to_string(),
            worker.restarts.to_string(),
            worker.connections.to_string(),
            worker.in_flight.to_string(),
            worker.requests.to_string(),
            ByteSize::b(worker.rss_bytes).display().iec().to_string(),
            format!("{} ms", worker.lag_ms),
            worker.last_exit.clone().unwrap_or_default(),
        ]);
    }
    rows
}

fn listeners(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![row(["ADDRESS", "STRATEGY", "ACCEPTED"])];
    rows.extend(status.listeners.iter().map(|listener| {
        vec![
            listener.address.clone(),
            listener.strategy.clone(),
            listener.accepted.to_string(),
        ]
    }));
    rows
}

fn fleet(link: &FleetLink) -> Vec<Vec<String>> {
    let since = Duration::from_secs(link.since_ms / 1000);
    // Without an agent there is nothing to tell.
    let for_ = match link.state {
        LinkState::Unknown => "-".to_owned(),
        LinkState::Connecting | LinkState::Connected => {
            humantime::format_duration(since).to_string()
        }
    };
    let trouble = match (link.trouble, link.last_trouble) {
        (Some(now), _) => now.as_str().to_owned(),
        (None, Some(last)) => format!("none, last: {}", last.as_str()),
        (None, None) => String::new(),
    };
    let messages = &link.messages;
    vec![
        row([
            "FLEET", "FOR", "MEMBERS", "LEASES", "LOST", "SENT", "REFUSED", "RECEIVED", "MISSED",
            "TROUBLE",
        ]),
        vec![
            link.state.as_str().to_owned(),
            for_,
            link.members.to_string(),
            link.leases.to_string(),
            link.losses.to_string(),
            messages.sent.to_string(),
            messages.refused.to_string(),
            messages.received.to_string(),
            messages.missed.to_string(),
            trouble,
        ],
    ]
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).to_vec()
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::control::{
        AgentStatus, ChildState, ClusterState, ListenerStatus, MasterStatus, WorkerStatus,
    };
    use hatchery_protocol::exit::ExitKind;
    use hatchery_protocol::fleet::{FleetMessages, LinkTrouble};

    use super::*;

    #[test]
    fn people_can_read_it() {
        let worker = WorkerStatus {
            slot: 0,
            pid: Some(102),
            state: ChildState::Ready,
            generation: 1,
            restarts: 0,
            connections: 12,
            in_flight: 3,
            requests: 4567,
            rss_bytes: 12 * 1024 * 1024,
            lag_ms: 1,
            last_exit: None,
            last_exit_kind: None,
        };
        let status = Status {
            name: "hello".into(),
            state: ClusterState::Ready,
            generation: 1,
            uptime_ms: 192_345,
            version: "0.1.0".into(),
            master: MasterStatus {
                pid: 100,
                background: false,
            },
            agent: AgentStatus {
                pid: Some(101),
                state: ChildState::Ready,
                restarts: 1,
                last_exit: Some("exited with code 7".into()),
                last_exit_kind: Some(ExitKind::Code),
            },
            workers: vec![
                worker.clone(),
                WorkerStatus {
                    slot: 1,
                    pid: None,
                    state: ChildState::Waiting,
                    restarts: 2,
                    last_exit: Some("signal 9".into()),
                    last_exit_kind: Some(ExitKind::Signal),
                    ..worker
                },
            ],
            listeners: vec![ListenerStatus {
                address: "127.0.0.1:7001".into(),
                strategy: "shared".into(),
                accepted: 1234,
            }],
            schedules: Vec::new(),
            fleet: Some(FleetLink {
                state: LinkState::Connected,
                since_ms: 61_234,
                last_trouble: Some(LinkTrouble::Unreachable),
                members: 3,
                leases: 1,
                losses: 2,
                messages: FleetMessages {
                    sent: 12,
                    received: 345,
                    ..FleetMessages::default()
                },
                ..FleetLink::default()
            }),
        };
        assert_eq!(
            readable(&status),
            "hello is ready, up 3m 12s, generation 1, hatchery 0.1.0\n\
             \n\
             PROCESS   PID  STATE    GEN  RESTARTS  CONNECTIONS  IN FLIGHT  REQUESTS    MEMORY   LAG  LAST EXIT\n\
             master    100\n\
             agent     101  ready                1                                                    exited with code 7\n\
             worker 0  102  ready      1         0           12          3      4567  12.0 MiB  1 ms\n\
             worker 1    -  waiting    1         2           12          3      4567  12.0 MiB  1 ms  signal 9\n\
             \n\
             ADDRESS         STRATEGY  ACCEPTED\n\
             127.0.0.1:7001  shared        1234\n\
             \n\
             FLEET        FOR  MEMBERS  LEASES  LOST  SENT  REFUSED  RECEIVED  MISSED  TROUBLE\n\
             connected  1m 1s        3       1     2    12        0       345       0  none, last: unreachable\n"
        );
    }
}
