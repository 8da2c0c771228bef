//! What travels on the link between the master and one child.
//!
//! The direction is in the type, so a child cannot say what only the master may say, and who speaks is
//! known from the link, never from a field: a worker cannot pretend to be another one, nor announce
//! somebody's death.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::boot::Boot;
use crate::clock::as_millis;
use crate::diagnosis::Diagnosis;
use crate::fleet::FleetLink;
use crate::id::Slot;
use crate::schedule::{RunEnd, ScheduleNews, ScheduleOrder};
use crate::section::Section;
use crate::wire::{Frame, FrameError, Kind, encode};

/// From the master to a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToChild {
    /// What the child is and has to know; the first message, with the descriptors it lists.
    Boot(Box<Boot>),
    /// "I am alive." Once a second; a child answers each with [`FromChild::Beat`].
    Beat,
    /// Every process of the cluster is ready. Exactly once in a child's life.
    EggReady,
    /// The agent is ready to be talked to.
    AgentUp {
        /// Its process id.
        pid: u32,
    },
    /// There is no agent at the moment.
    AgentDown,
    /// Which workers have become ready or have gone since a child was told last: its boot message names those
    /// that were ready then, and at egg-ready a worker hears of all of them.
    WorkersChanged {
        /// Who is ready now, perhaps in the place of another process of its slot.
        up: Vec<Member>,
        /// Slots in which nobody is ready any more.
        down: Vec<Slot>,
    },
    /// Write output where the two descriptors of this message lead from now on: standard output first, then
    /// standard error. The log file was opened again.
    Output,
    /// A stop is to come: let clients be sent elsewhere, and go on. Once in a child's life at most.
    Stopping,
    /// "You seem to hang, what are you doing?" Answered with [`FromChild::Diagnosis`].
    Diagnose,
    /// Another agent is about to take over: end what may run only once. Answered with
    /// [`FromChild::StoodDown`], or by leaving. Agents alone hear this, once in their lives at most.
    StandDown,
    /// About schedules. Agents alone hear this.
    Schedule(Box<ScheduleOrder>),
    /// The application's own configuration has changed. Agents alone hear this: workers are replaced.
    Configure {
        /// What it is now.
        section: Box<Section>,
    },
    /// Stop: take no new work, finish what is there, close, leave.
    Drain {
        /// How long this may take altogether. At the end of it the child gives up what is left.
        #[serde(with = "as_millis", rename = "budget_ms")]
        budget: Duration,
    },
}

/// From a child to the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromChild {
    /// The first message: the version this child was built with.
    Hello {
        /// [`crate::PROTOCOL_VERSION`] of the child.
        version: u32,
    },
    /// `start` returned, the child can work.
    Ready,
    /// Nothing of what may run only once runs here any more.
    StoodDown,
    /// A hook failed; the child is about to leave.
    Failed {
        /// Which one, as `Worker::start`.
        hook: String,
        /// What it said.
        message: String,
        /// Whether it failed by taking too long.
        #[serde(default)]
        timed_out: bool,
    },
    /// The answer to [`ToChild::Beat`]. Sent by the watch thread, so it proves that the *process* lives;
    /// [`Gauges::runtime_age`] tells whether its *runtime* does.
    Beat(Gauges),
    /// The answer to [`ToChild::Diagnose`]. Sent by the watch thread, whatever the runtime does.
    Diagnosis(Box<Diagnosis>),
    /// About schedules. Agents alone say this.
    Schedule(Box<ScheduleNews>),
    /// A run of a schedule is over. Workers alone say this.
    RunEnded(Box<RunEnd>),
}

/// A ready worker, as its peers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its slot.
    pub slot: Slot,
    /// Its process id.
    pub pid: u32,
}

/// What a child knows about itself, carried by its beats. All counters start at 0 with the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Time since a task last ran on the runtime. Grows without limit while the runtime is blocked.
    #[serde(with = "as_millis", rename = "runtime_age_ms")]
    pub runtime_age: Duration,
    /// By how much a timer of one second was late when it last fired.
    #[serde(with = "as_millis", rename = "lag_ms")]
    pub lag: Duration,
    /// Open connections, upgraded ones included.
    pub connections: u64,
    /// Requests whose response has not been sent whole.
    pub in_flight: u64,
    /// Requests begun.
    pub requests: u64,
    /// Connections accepted, by listener, in the order of [`Boot::listeners`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<u64>,
    /// The link to other hosts. Only an agent has one, and only if there is a fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetLink>,
}

/// The longest text in a message, in bytes: an error may carry a whole document.
pub const MAX_TEXT: usize = 8 * 1024;

/// Cuts a text that is too long for a message, and says so.
pub fn clip(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str(" [...]");
    }
}

/// Why a message could not be read. The link it came on is given up.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The framing is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame of a kind that has no business on a link.
    #[error("a {0:?} frame does not belong on a link")]
    Kind(Kind),
    /// The body is not a message of this direction.
    #[error("not a message: {0}")]
    Json(#[from] serde_json::Error),
}

/// Appends `message` as one frame to `out`; `fds` descriptors are going to travel with it.
///
/// # Errors
///
/// As [`encode`]; a message of this crate always serializes.
pub fn write_message<M: Serialize>(
    message: &M,
    fds: u8,
    out: &mut Vec<u8>,
) -> Result<(), MessageError> {
    let body = serde_json::to_vec(message)?;
    Ok(encode(Kind::Message, fds, &body, out)?)
}

/// Reads a frame as a message of one direction.
///
/// # Errors
///
/// Another kind of frame, or a body that is no such message.
pub fn read_message<'a, M: Deserialize<'a>>(frame: &'a Frame) -> Result<M, MessageError> {
    match frame.kind {
        Kind::Message => Ok(serde_json::from_slice(&frame.body)?),
        Kind::Control => Err(MessageError::Kind(frame.kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::diagnosis::RequestInFlight;
    use crate::schedule::{Command, Outcome};
    use crate::secret::Secret;

    fn json<M: Serialize>(message: &M) -> String {
        serde_json::to_string(message).unwrap()
    }

    /// The wire form is a contract between two builds: a change here needs a new protocol version.
    #[test]
    fn golden_messages() {
        let beat = Gauges {
            runtime_age: Duration::from_millis(3),
            lag: Duration::from_millis(1),
            connections: 2,
            in_flight: 1,
            requests: 9,
            accepted: vec![4],
            fleet: None,
        };
        let diagnosis = Diagnosis {
            runtime_age: Duration::from_secs(31),
            lag: Duration::from_millis(1),
            hook: None,
            connections: 2,
            in_flight: 1,
            requests: vec![RequestInFlight {
                method: "GET".into(),
                path: "/a".into(),
                age: Duration::from_secs(30),
            }],
        };
        let cases = [
            (json(&ToChild::Beat), r#"{"type":"beat"}"#),
            (json(&ToChild::EggReady), r#"{"type":"egg-ready"}"#),
            (
                json(&ToChild::AgentUp { pid: 7 }),
                r#"{"type":"agent-up","pid":7}"#,
            ),
            (json(&ToChild::AgentDown), r#"{"type":"agent-down"}"#),
            (
                json(&ToChild::WorkersChanged {
                    up: vec![Member { slot: 0, pid: 8 }],
                    down: vec![1],
                }),
                r#"{"type":"workers-changed","up":[{"slot":0,"pid":8}],"down":[1]}"#,
            ),
            (json(&ToChild::Output), r#"{"type":"output"}"#),
            (json(&ToChild::Stopping), r#"{"type":"stopping"}"#),
            (json(&ToChild::Diagnose), r#"{"type":"diagnose"}"#),
            (json(&ToChild::StandDown), r#"{"type":"stand-down"}"#),
            (json(&FromChild::StoodDown), r#"{"type":"stood-down"}"#),
            (
                json(&ToChild::Schedule(Box::new(ScheduleOrder::Asked {
                    number: 3,
                    name: "a".into(),
                    command: Command::Run,
                }))),
                r#"{"type":"schedule","order":"asked","number":3,"name":"a","command":"run"}"#,
            ),
            (
                json(&FromChild::Schedule(Box::new(ScheduleNews::Answer {
                    order: 3,
                    error: None,
                }))),
                r#"{"type":"schedule","news":"answer","order":3}"#,
            ),
            (
                json(&FromChild::RunEnded(Box::new(RunEnd {
                    schedule: "a".into(),
                    number: 3,
                    duration_ms: 4,
                    outcome: Outcome::Succeeded,
                }))),
                r#"{"type":"run-ended","schedule":"a","number":3,"duration_ms":4,"outcome":"succeeded"}"#,
            ),
            (
                json(&ToChild::Drain {
                    budget: Duration::from_secs(30),
                }),
                r#"{"type":"drain","budget_ms":30000}"#,
            ),
            (
                json(&FromChild::Hello { version: 1 }),
                r#"{"type":"hello","version":1}"#,
            ),
            (json(&FromChild::Ready), r#"{"type":"ready"}"#),
            (
                json(&FromChild::Failed {
                    hook: "Agent::start".into(),
                    message: "no".into(),
                    timed_out: false,
                }),
                r#"{"type":"failed","hook":"Agent::start","message":"no","timed_out":false}"#,
            ),
            (
                json(&FromChild::Beat(beat)),
                r#"{"type":"beat","runtime_age_ms":3,"lag_ms":1,"connections":2,"in_flight":1,"requests":9,"accepted":[4]}"#,
            ),
            (
                json(&FromChild::Diagnosis(Box::new(diagnosis))),
                concat!(
                    r#"{"type":"diagnosis","runtime_age_ms":31000,"lag_ms":1,"hook":null,"connections":2,"in_flight":1,"#,
                    r#""requests":[{"method":"GET","path":"/a","age_ms":30000}]}"#
                ),
            ),
        ];
        for (written, golden) in cases {
            assert_eq!(written, golden);
        }
    }

    #[test]
    fn golden_configure() {
        let section = Box::new(token());
        let written = json(&ToChild::Configure { section });
        let golden =
            r#"{"type":"configure","section":{"values":{"table":{"token":{"text":"hunter2"}}}}}"#;
        assert_eq!(written, golden);
        let read: ToChild = serde_json::from_str(golden).unwrap();
        assert_eq!(json(&read), golden);
    }

    fn token() -> Section {
        let token = crate::section::Value::Text("hunter2".into());
        Section::new([("token".to_owned(), token)].into(), None)
    }

    fn program() -> crate::boot::ProgramBoot {
        crate::boot::ProgramBoot {
            command: vec!["s".into(), "-x".into()],
            directory: "/d".into(),
            environment: vec![("A".into(), "b".into())],
            readiness: crate::boot::Readiness::Accept,
            settle: Duration::from_secs(1),
            stop_signal: 15,
        }
    }

    #[test]
    fn golden_boot() {
        use crate::boot::{
            ChildSettings, Family, FleetBoot, HttpLimits, Lane, ListenerBoot, LogFormat,
            OnMasterDeath, Source, TlsFiles,
        };
        use crate::id::{ChildId, Seat};

        let second = Duration::from_secs(1);
        let secret = serde_json::from_str::<Secret>(&json(&[7; 32])).unwrap();
        let boot = ToChild::Boot(Box::new(Boot {
            name: "app".into(),
            child: ChildId {
                seat: Seat::Worker(1),
                incarnation: 3,
            },
            generation: 1,
            replaces: false,
            attributes: Attributes::default(),
            settings: ChildSettings {
                workers: 2,
                threads: 1,
                start_timeout: second,
                drain_timeout: second,
                lame_duck: second,
                orphan_grace: second,
                master_timeout: second,
                http: HttpLimits {
                    header_timeout: second,
                    idle_timeout: second,
                    max_header_size: 8192,
                    max_connections: 9,
                    max_requests_per_connection: 10,
                },
                on_master_death: OnMasterDeath::Drain,
                log_format: LogFormat::Json,
                log_level: "info".into(),
            },
            listeners: vec![ListenerBoot {
                address: "127.0.0.1:80".into(),
                name: Some("web".into()),
                family: Family::Tcp,
                source: Source::Handed,
                proxy_protocol: true,
                tls: Some(TlsFiles {
                    cert: "/c.pem".into(),
                    key: "/k.pem".into(),
                }),
            }],
            lane: Some(Lane {
                report_closings: true,
            }),
            post: Some(crate::post::Limits {
                max_message: 2,
                window: 3,
            }),
            ticket_secret: Some(secret.clone()),
            fleet: Some(FleetBoot {
                address: "redis://r".into(),
                user: None,
                password_file: Some("/p".into()),
                ca_file: None,
                lease: second,
            }),
            host: Some(11),
            program: Some(program()),
            section: Some(token()),
            jobs: vec!["report".into()],
            agent: Some(7),
            workers: vec![Member { slot: 0, pid: 8 }],
        }));
        assert_eq!(
            json(&boot),
            concat!(
                r#"{"type":"boot","name":"app","child":{"seat":{"worker":1},"incarnation":3},"generation":1,"#,
                r#""replaces":false,"settings":{"workers":2,"threads":1,"start_timeout_ms":1000,"#,
                r#""drain_timeout_ms":1000,"lame_duck_ms":1000,"orphan_grace_ms":1000,"master_timeout_ms":1000,"#,
                r#""http":{"header_timeout_ms":1000,"idle_timeout_ms":1000,"max_header_size":8192,"#,
                r#""max_connections":9,"max_requests_per_connection":10},"#,
                r#""on_master_death":"drain","log_format":"json","log_level":"info"},"#,
                r#""listeners":[{"address":"127.0.0.1:80","name":"web","family":"tcp","source":"handed","#,
                r#""proxy_protocol":true,"tls":{"cert":"/c.pem","key":"/k.pem"}}],"lane":{"report_closings":true},"#,
                r#""post":{"max_message":2,"window":3},"ticket_secret":["#,
                "7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7",
                r#"],"fleet":{"address":"redis://r","password_file":"/p","lease_ms":1000},"host":11,"#,
                r#""program":{"command":["s","-x"],"directory":"/d","environment":[["A","b"]],"readiness":"accept","#,
                r#""settle_ms":1000,"stop_signal":15},"section":{"values":{"table":{"token":{"text":"hunter2"}}}},"#,
                r#""jobs":["report"],"agent":7,"workers":[{"slot":0,"pid":8}]}"#
            )
        );
        let read: ToChild = serde_json::from_str(&json(&boot)).unwrap();
        assert_eq!(read, boot);
        let shown = format!("{boot:?}");
        assert!(
            shown.contains("Secret(..)") && !shown.contains("7, 7") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut text = "ä".repeat(MAX_TEXT);
        clip(&mut text);
        assert!(text.len() <= MAX_TEXT + 6 && text.ends_with("ä [...]"));
        let mut short = "fits".to_owned();
        clip(&mut short);
        assert_eq!(short, "fits");
    }

    /// A child cannot speak with the master's voice.
    #[test]
    fn directions_do_not_mix() {
        let mut bytes = Vec::new();
        write_message(&ToChild::EggReady, 0, &mut bytes).unwrap();
        let mut decoder = crate::wire::Decoder::new(1000);
        decoder.push(&bytes);
        let frame = decoder.next_frame().unwrap().unwrap();
        assert!(read_message::<ToChild>(&frame).is_ok());
        assert!(read_message::<FromChild>(&frame).is_err());
    }
}
