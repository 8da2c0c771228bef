//! What travels on the control socket between an operator's command and the master.
//!
//! One request, then replies until the master closes: [`Frame`](crate::wire::Frame)s of kind
//! [`Kind::Control`](crate::wire::Kind::Control) whose bodies are JSON.

use serde::{Deserialize, Serialize};

use crate::event::EventRecord;
use crate::exit::{Exit, ExitKind};
use crate::fleet::FleetLink;
use crate::id::{Generation, Slot};
use crate::schedule::{Command, ScheduleStatus};

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Answered with one [`Reply::Status`].
    Status,
    /// Answered with one [`Reply::Metrics`].
    Metrics,
    /// Answered with one [`Reply::Event`] for each event from now on, without end.
    Events,
    /// Let a new master, of the executable that is now on disk, take over. Answered as [`Request::Reload`].
    Upgrade,
    /// Stop in order. Answered as [`Request::Events`], until the master is gone.
    Stop,
    /// Replace every worker by one of the executable and the configuration that are on disk now. Answered with
    /// [`Reply::Event`]s and, in the end, one [`Reply::Finished`].
    Reload {
        /// The agent, too.
        #[serde(default)]
        agent: bool,
    },
    /// Do something with a schedule. Answered with one [`Reply::Finished`], for a run when it has ended.
    Schedule {
        /// Its name.
        name: String,
        /// What.
        command: Command,
    },
    /// Change the number of workers. Answered as [`Request::Reload`].
    Scale {
        /// To how many.
        to: Scale,
    },
}

/// The most workers that a cluster has.
pub const MAX_WORKERS: u32 = 1024;

/// A number of workers, as an operator wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Exactly so many.
    Workers(u32),
    /// One more.
    OneMore,
    /// One less, but never none.
    OneLess,
}

/// What the master answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The cluster as it is now.
    Status(Box<Status>),
    /// The same and more in numbers.
    Metrics {
        /// In Prometheus' text format.
        text: String,
    },
    /// Something happened.
    Event(EventRecord),
    /// Something the operator should know now.
    Note {
        /// A sentence.
        message: String,
    },
    /// What was asked for is done, or failed; the last reply.
    Finished {
        /// Why it failed; absent: it is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What the operator should know besides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// The request was refused.
    Error {
        /// What was wrong with it, in one sentence.
        message: String,
    },
}

/// What a master that was started by `start --daemon` tells whoever started it; exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "launch", rename_all = "kebab-case")]
pub enum LaunchReport {
    /// Egg-ready.
    Ready {
        /// The addresses served.
        addresses: Vec<String>,
    },
    /// It gave up, and nothing is left running.
    Failed {
        /// The code it ends with.
        exit: Exit,
        /// Why.
        message: String,
    },
}

/// The cluster as it is now: the document behind `status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The application's name.
    pub name: String,
    /// What the cluster as a whole is doing.
    pub state: ClusterState,
    /// The generation that new processes belong to.
    pub generation: Generation,
    /// Milliseconds since the master started.
    pub uptime_ms: u64,
    /// hatchery's version.
    pub version: String,
    /// The master.
    pub master: MasterStatus,
    /// The agent.
    pub agent: AgentStatus,
    /// The workers, in order of slot.
    pub workers: Vec<WorkerStatus>,
    /// The addresses, in the order they were given.
    pub listeners: Vec<ListenerStatus>,
    /// What the agent runs at certain times, by name.
    #[serde(default)]
    pub schedules: Vec<ScheduleStatus>,
    /// The link to other hosts; absent where no fleet is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetLink>,
}

/// What the cluster as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// Before egg-ready.
    Starting,
    /// Serving, every seat taken or being taken again.
    Ready,
    /// Serving, but at least one seat is in a crash loop.
    Degraded,
    /// Serving, while processes are replaced by a newer generation.
    Reloading,
    /// On the way out.
    Stopping,
}

/// What a seat holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildState {
    /// Nobody, until the backoff ends.
    Waiting,
    /// A process is being created.
    Spawning,
    /// A process in its `start` hook.
    Booting,
    /// A process at work.
    Ready,
    /// A process finishing its work.
    Draining,
    /// A process that was killed and is not gone yet.
    Killed,
}

impl ChildState {
    /// The state in lower case, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Spawning => "spawning",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Killed => "killed",
        }
    }
}

impl ClusterState {
    /// The state in lower case, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
        }
    }
}

/// The master in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Its process id.
    pub pid: u32,
    /// Whether it was started in the background, by `start --daemon`.
    #[serde(default)]
    pub background: bool,
}

/// The agent in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its process id, while there is a process.
    pub pid: Option<u32>,
    /// What its seat holds.
    pub state: ChildState,
    /// How many times it was started again.
    pub restarts: u64,
    /// Why the agent before this one ended.
    #[serde(default)]
    pub last_exit: Option<String>,
    /// The same in one word.
    #[serde(default)]
    pub last_exit_kind: Option<ExitKind>,
}

/// One worker in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its slot.
    pub slot: Slot,
    /// Its process id, while there is a process.
    pub pid: Option<u32>,
    /// What its slot holds.
    pub state: ChildState,
    /// The generation of the process.
    pub generation: Generation,
    /// How many times the slot was filled again.
    pub restarts: u64,
    /// Open connections, as of the last beat.
    pub connections: u64,
    /// Requests not answered whole, as of the last beat.
    pub in_flight: u64,
    /// Requests begun by this process, as of the last beat.
    pub requests: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// By how much the runtime was late, in milliseconds, as of the last beat.
    pub lag_ms: u64,
    /// Why the slot's previous process ended.
    pub last_exit: Option<String>,
    /// The same in one word.
    #[serde(default)]
    pub last_exit_kind: Option<ExitKind>,
}

/// One address in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// As a client would write it: `127.0.0.1:7001`, `unix:/run/app.sock`.
    pub address: String,
    /// How its connections are shared.
    pub strategy: String,
    /// Connections accepted since the master started, as of the last beats.
    pub accepted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }

    /// A new command meets an old master on this socket: forms are added, never changed. A master answers
    /// what it does not know with an error.
    #[test]
    fn golden_requests_and_replies() {
        assert_eq!(json(&Request::Status), r#"{"request":"status"}"#);
        assert_eq!(json(&Request::Metrics), r#"{"request":"metrics"}"#);
        let metrics = Reply::Metrics { text: "a 1".into() };
        assert_eq!(json(&metrics), r#"{"reply":"metrics","text":"a 1"}"#);
        assert_eq!(json(&Request::Events), r#"{"request":"events"}"#);
        assert_eq!(json(&Request::Stop), r#"{"request":"stop"}"#);
        assert_eq!(
            json(&Request::Reload { agent: true }),
            r#"{"request":"reload","agent":true}"#
        );
        let schedule = Request::Schedule {
            name: "report".into(),
            command: Command::Run,
        };
        assert_eq!(
            json(&schedule),
            r#"{"request":"schedule","name":"report","command":"run"}"#
        );
        for (to, golden) in [
            (Scale::Workers(4), r#"{"workers":4}"#),
            (Scale::OneMore, r#""one-more""#),
            (Scale::OneLess, r#""one-less""#),
        ] {
            let golden = format!(r#"{{"request":"scale","to":{golden}}}"#);
            assert_eq!(json(&Request::Scale { to }), golden);
        }
        let message = "wait".to_owned();
        assert_eq!(
            json(&Reply::Note { message }),
            r#"{"reply":"note","message":"wait"}"#
        );
        let mut finished = Reply::Finished {
            error: None,
            notes: Vec::new(),
        };
        assert_eq!(json(&finished), r#"{"reply":"finished"}"#);
        if let Reply::Finished { error, notes } = &mut finished {
            *error = Some("no".into());
            notes.push("so".into());
        }
        assert_eq!(
            json(&finished),
            r#"{"reply":"finished","error":"no","notes":["so"]}"#
        );
        assert_eq!(json(&Request::Upgrade), r#"{"request":"upgrade"}"#);
        let error = Reply::Error {
            message: "no".into(),
        };
        assert_eq!(json(&error), r#"{"reply":"error","message":"no"}"#);
        let ready = LaunchReport::Ready {
            addresses: vec!["127.0.0.1:80".into()],
        };
        assert_eq!(
            json(&ready),
            r#"{"launch":"ready","addresses":["127.0.0.1:80"]}"#
        );
        let failed = LaunchReport::Failed {
            exit: Exit::BindFailed,
            message: "in use".into(),
        };
        let golden = r#"{"launch":"failed","exit":"bind-failed","message":"in use"}"#;
        assert_eq!(json(&failed), golden);
    }

    #[test]
    fn golden_status() {
        let status = Status {
            name: "app".into(),
            state: ClusterState::Degraded,
            generation: 1,
            uptime_ms: 5,
            version: "0.1.0".into(),
            master: MasterStatus {
                pid: 1,
                background: false,
            },
            agent: AgentStatus {
                pid: None,
                state: ChildState::Waiting,
                restarts: 4,
                last_exit: Some("killed".into()),
                last_exit_kind: Some(ExitKind::Hung),
            },
            workers: vec![WorkerStatus {
                slot: 0,
                pid: Some(3),
                state: ChildState::Ready,
                generation: 1,
                restarts: 0,
                connections: 1,
                in_flight: 2,
                requests: 3,
                rss_bytes: 4,
                lag_ms: 5,
                last_exit: None,
                last_exit_kind: None,
            }],
            listeners: vec![ListenerStatus {
                address: "127.0.0.1:80".into(),
                strategy: "shared".into(),
                accepted: 6,
            }],
            schedules: Vec::new(),
            fleet: None,
        };
        assert_eq!(
            json(&status),
            concat!(
                r#"{"name":"app","state":"degraded","generation":1,"uptime_ms":5,"version":"0.1.0","#,
                r#""master":{"pid":1,"background":false},"agent":{"pid":null,"state":"waiting","restarts":4,"#,
                r#""last_exit":"killed","last_exit_kind":"hung"},"#,
                r#""workers":[{"slot":0,"pid":3,"state":"ready","generation":1,"restarts":0,"#,
                r#""connections":1,"in_flight":2,"requests":3,"rss_bytes":4,"lag_ms":5,"last_exit":null,"last_exit_kind":null}],"#,
                r#""listeners":[{"address":"127.0.0.1:80","strategy":"shared","accepted":6}],"schedules":[]}"#
            )
        );
    }
}
