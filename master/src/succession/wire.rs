//! What two masters say to each other while one hands over to the other.
//!
//! Both may be builds of different days. [`Hello`] and [`FromSuccessor::Failed`] keep their form for ever, so
//! that two that cannot work together can still say so; everything else is bound to [`VERSION`].
//!
//! [`Hello`]: ToSuccessor::Hello

use std::path::PathBuf;
use std::time::Duration;

use hatchery_protocol::clock::as_millis;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::Generation;
use hatchery_protocol::schedule::{RunEnd, ScheduleStatus};
use hatchery_protocol::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::listener::Provenance;

/// The version of everything in this file, and of what it means.
pub(super) const VERSION: u32 = 4;

/// From the old master to the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum ToSuccessor {
    /// The first message.
    Hello {
        /// [`VERSION`] of the old master.
        version: u32,
    },
    /// Everything but the sockets. Descriptors: standard output, standard error, the lock, the listening
    /// control socket.
    Estate(Box<Deed>),
    /// Sockets of one listener; those of a large one come in several messages, one after the other.
    /// Descriptors: the sockets, in the order of their slots.
    Sockets {
        /// The listener's place in the old master's list.
        listener: u16,
        /// How it came to be.
        provenance: Provenance,
    },
    /// The estate is complete.
    Complete,
    /// An agent of the old master's was created, and does not know yet what it is. Descriptor: its pidfd.
    Child,
    /// What the old agent left of one schedule. Comes when it is out of office.
    Schedule(Box<ScheduleStatus>),
    /// The old agent is out of office: begin to serve.
    Commit,
    /// A run that went on in a worker of the old master's at the commit is over.
    RunEnded(Box<RunEnd>),
    /// The old master goes on: leave.
    RollBack,
}

/// What of the estate is no descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deed {
    /// The application's name.
    pub(super) name: String,
    /// Whose lock it is, and where the control socket's file is.
    pub(super) runtime_dir: PathBuf,
    /// The youngest generation of the old master's.
    pub(super) generation: Generation,
    /// How many workers the old master's configuration says there are.
    pub(super) configured_workers: u32,
    /// How many there are to be, if somebody has scaled it.
    pub(super) wanted_workers: u32,
    /// Whether the application was started in the background.
    pub(super) background: bool,
    /// Whether the old master leads a session: the new one then leads its own.
    pub(super) leads_session: bool,
    /// What the keys of TLS session tickets are derived from.
    pub(super) ticket_secret: Secret,
}

/// From the new master to the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum FromSuccessor {
    /// The first message.
    Hello {
        /// [`VERSION`] of the new master.
        version: u32,
    },
    /// It has its configuration and its addresses, and starts its processes.
    Preparing {
        /// How long that may take at the most, by its own configuration.
        #[serde(with = "as_millis", rename = "within_ms")]
        within: Duration,
    },
    /// A process of the new master's was created, and does not know yet what it is. Descriptor: its pidfd.
    Child {
        /// Its process id, which is that of its group, too.
        pid: i32,
    },
    /// Everybody is ready.
    Ready {
        /// Which of the old master's listeners it goes on with.
        adopted: Vec<u16>,
    },
    /// It gives up, and is about to be gone.
    Failed {
        /// The code it ends with.
        exit: Exit,
        /// Why.
        message: String,
    },
    /// Its workers accept, and everything is its own.
    Serving,
}

#[cfg(test)]
mod tests {
    use super::*;
    use hatchery_protocol::schedule::Outcome;

    fn json<M: Serialize>(message: &M) -> String {
        serde_json::to_string(message).unwrap()
    }

    /// These are for ever. The rest is bound to the version: a change there needs a new one.
    #[test]
    fn golden_first_and_last_words() {
        let hello = ToSuccessor::Hello { version: 7 };
        assert_eq!(json(&hello), r#"{"type":"hello","version":7}"#);
        let hello = FromSuccessor::Hello { version: 7 };
        assert_eq!(json(&hello), r#"{"type":"hello","version":7}"#);
        let failed = FromSuccessor::Failed {
            exit: Exit::BindFailed,
            message: "no".into(),
        };
        let golden = r#"{"type":"failed","exit":"bind-failed","message":"no"}"#;
        assert_eq!(json(&failed), golden);
    }

    #[test]
    fn golden_handover() {
        assert_eq!(VERSION, 4, "these are the messages of version 4");
        let secret = serde_json::from_str::<Secret>(&json(&[7; 32])).unwrap();
        let deed = Deed {
            name: "app".into(),
            runtime_dir: "/run/app".into(),
            generation: 3,
            configured_workers: 4,
            wanted_workers: 6,
            background: false,
            leads_session: true,
            ticket_secret: secret,
        };
        let estate = json(&ToSuccessor::Estate(Box::new(deed)));
        let golden = concat!(
            r#"{"type":"estate","name":"app","runtime_dir":"/run/app","generation":3,"configured_workers":4,"#,
            r#""wanted_workers":6,"background":false,"leads_session":true,"ticket_secret":[7,7,"#
        );
        assert!(estate.starts_with(golden), "{estate}");
        let sockets = ToSuccessor::Sockets {
            listener: 2,
            provenance: Provenance::Inherited {
                number: 4,
                name: "web".into(),
            },
        };
        assert_eq!(
            json(&sockets),
            r#"{"type":"sockets","listener":2,"provenance":{"inherited":{"number":4,"name":"web"}}}"#
        );
        let schedule = json(&ToSuccessor::Schedule(Box::default()));
        let golden = r#"{"type":"schedule","name":"","when":"","place":"one-worker","#;
        assert!(schedule.starts_with(golden), "{schedule}");
        let ended = json(&ToSuccessor::RunEnded(Box::new(RunEnd {
            schedule: "a".into(),
            number: 2,
            duration_ms: 3,
            outcome: Outcome::TimedOut,
        })));
        assert_eq!(
            ended,
            r#"{"type":"run-ended","schedule":"a","number":2,"duration_ms":3,"outcome":"timed-out"}"#
        );
        for (written, golden) in [
            (json(&ToSuccessor::Complete), r#"{"type":"complete"}"#),
            (json(&ToSuccessor::Child), r#"{"type":"child"}"#),
            (json(&ToSuccessor::Commit), r#"{"type":"commit"}"#),
            (json(&ToSuccessor::RollBack), r#"{"type":"roll-back"}"#),
            (
                json(&FromSuccessor::Child { pid: 7 }),
                r#"{"type":"child","pid":7}"#,
            ),
            (json(&FromSuccessor::Serving), r#"{"type":"serving"}"#),
            (
                json(&FromSuccessor::Ready {
                    adopted: vec![0, 2],
                }),
                r#"{"type":"ready","adopted":[0,2]}"#,
            ),
            (
                json(&FromSuccessor::Preparing {
                    within: Duration::from_secs(2),
                }),
                r#"{"type":"preparing","within_ms":2000}"#,
            ),
        ] {
            assert_eq!(written, golden);
        }
    }
}
