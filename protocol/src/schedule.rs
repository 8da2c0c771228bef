//! What is known of a schedule: shown to operators, and handed from one agent to the next.
//!
//! The agent tells the master after each change, and before a run begins. So the master can show schedules without
//! asking, and whoever is the agent next knows what has been run, what was switched off and what was still to come,
//! whatever happened to the one before.

use serde::{Deserialize, Serialize};

/// The most schedules an agent has: each is looked at whenever one is due.
pub const MAX_SCHEDULES: usize = 100;

/// How many past runs of a schedule are kept.
pub const HISTORY: usize = 10;

/// The longest text of a failed run that is kept, in bytes.
pub const MAX_REASON: usize = 200;

/// One schedule, as of its last change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// When it runs, for people. Another text is another rhythm.
    pub when: String,
    /// Where it runs.
    pub place: Place,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// Whether an operator has decided that, and not the author.
    #[serde(default)]
    pub switched: bool,
    /// When it is due next, in milliseconds since 1970.
    pub next_ms: Option<u64>,
    /// Whether a run waits for the end of another one.
    #[serde(default)]
    pub queued: bool,
    /// How many runs have begun.
    pub runs: u64,
    /// Times that passed while no agent could run it.
    pub missed: u64,
    /// Times that passed while the run before was not over.
    pub skipped: u64,
    /// The runs that go on.
    pub running: Vec<Running>,
    /// The last runs that ended, newest first, at most [`HISTORY`].
    pub history: Vec<Run>,
    /// For a schedule of a whole fleet: which host's turn it is. Absent: it is this host's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
}

/// Which host of a fleet runs a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// This one.
    Here,
    /// Not this one: another one, or none at the moment.
    Elsewhere,
}

/// Where a schedule's job runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On one worker, whichever is ready.
    #[default]
    OneWorker,
    /// On every worker that is ready.
    AllWorkers,
    /// In the agent.
    Agent,
}

impl Place {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneWorker => "one worker",
            Self::AllWorkers => "all workers",
            Self::Agent => "agent",
        }
    }
}

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It was time.
    Due,
    /// It makes up for times that passed without a run.
    Missed,
    /// The cluster started.
    Start,
    /// An operator asked.
    Asked,
}

/// A run that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Counts from 1 for each schedule.
    pub number: u64,
    /// Why it began.
    pub cause: Cause,
    /// When, in milliseconds since 1970.
    pub started_ms: u64,
    /// Which try it is: 2 after a worker died with the first.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub attempt: u32,
    /// Whether it goes on in a worker of the master before, after an upgrade.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

const fn first() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

/// The end of a run on a worker, as that worker tells its master. An agent that was replaced meanwhile hears nothing
/// of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The schedule.
    pub schedule: String,
    /// The run.
    pub number: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Counts from 1 for each schedule.
    pub number: u64,
    /// Why it began.
    pub cause: Cause,
    /// When, in milliseconds since 1970.
    pub started_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What an agent tells the master about schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum ScheduleNews {
    /// These are all schedules there are; what was known of others is of no use any more.
    Names {
        /// The names.
        names: Vec<String>,
    },
    /// These are the jobs that every worker has to know.
    Jobs {
        /// Their names.
        jobs: Vec<String>,
    },
    /// How things are with one of them.
    Changed(ScheduleStatus),
    /// What became of [`ScheduleOrder::Asked`].
    Answer {
        /// Its number.
        order: u64,
        /// Why it failed; absent: it is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// What the master tells an agent about schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum ScheduleOrder {
    /// What an agent before told last. Comes before egg-ready.
    Known(ScheduleStatus),
    /// An operator's command. Answered with [`ScheduleNews::Answer`].
    Asked {
        /// The number of the order.
        number: u64,
        /// The schedule.
        name: String,
        /// What to do with it.
        command: Command,
    },
    /// A run that an agent before began is over. Comes for those that go on where this agent cannot ask.
    Ended(RunEnd),
}

/// What an operator can ask of one schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Run it now; done when the run has ended.
    Run,
    /// Let it run by itself.
    Enable,
    /// Do not let it run by itself.
    Disable,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The job returned.
    Succeeded,
    /// The job returned an error, panicked, or could not be begun.
    Failed {
        /// What it said.
        reason: String,
    },
    /// It took longer than it may, and was given up.
    TimedOut,
    /// The process that ran it is gone.
    Lost {
        /// Which one, and what is known.
        reason: String,
    },
    /// The agent that began it is gone or had to end it. Whether a worker finished it is not known.
    Unobserved,
}

impl Outcome {
    /// In one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::TimedOut => "timed out",
            Self::Lost { .. } => "lost",
            Self::Unobserved => "unobserved",
        }
    }

    /// What there is to say besides the word.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } | Self::Lost { reason } => Some(reason),
            Self::Succeeded | Self::TimedOut | Self::Unobserved => None,
        }
    }

    /// A failure with its reason, cut to what is kept.
    pub fn failed(reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        cut(&mut reason);
        Self::Failed { reason }
    }

    /// A loss with its reason, cut to what is kept.
    pub fn lost(reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        cut(&mut reason);
        Self::Lost { reason }
    }
}

fn cut(reason: &mut String) {
    if reason.len() > MAX_REASON {
        let end = (0..=MAX_REASON)
            .rev()
            .find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or(0));
        reason.push_str(" [...]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of `status --json`, and of what an old master hands to a newer one.
    #[test]
    fn golden_schedule() {
        let schedule = ScheduleStatus {
            name: "report".into(),
            when: "every 5s".into(),
            place: Place::AllWorkers,
            enabled: true,
            switched: false,
            next_ms: Some(9),
            queued: false,
            runs: 2,
            missed: 3,
            skipped: 4,
            running: vec![Running {
                number: 2,
                cause: Cause::Due,
                started_ms: 5,
                attempt: 1,
                elsewhere: false,
            }],
            history: vec![Run {
                number: 1,
                cause: Cause::Asked,
                started_ms: 1,
                duration_ms: 2,
                outcome: Outcome::failed("no"),
            }],
            turn: None,
        };
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"name":"report","when":"every 5s","place":"all-workers","enabled":true,"switched":false,"next_ms":9,"queued":false,"#,
                r#""runs":2,"missed":3,"skipped":4,"running":[{"number":2,"cause":"due","started_ms":5}],"#,
                r#""history":[{"number":1,"cause":"asked","started_ms":1,"duration_ms":2,"outcome":"failed","reason":"no"}]}"#
            )
        );
        assert_eq!(
            serde_json::from_str::<ScheduleStatus>(&json).unwrap(),
            schedule
        );
        let turn = Some(Turn::Elsewhere);
        let elsewhere = serde_json::to_string(&ScheduleStatus { turn, ..schedule }).unwrap();
        assert!(
            elsewhere.ends_with(r#"],"turn":"elsewhere"}"#),
            "{elsewhere}"
        );
    }

    #[test]
    fn golden_news_and_orders() {
        fn json<T: Serialize>(value: &T) -> String {
            serde_json::to_string(value).unwrap()
        }
        let names = vec!["a".to_owned()];
        assert_eq!(
            json(&ScheduleNews::Names {
                names: names.clone()
            }),
            r#"{"news":"names","names":["a"]}"#
        );
        assert_eq!(
            json(&ScheduleNews::Jobs { jobs: names }),
            r#"{"news":"jobs","jobs":["a"]}"#
        );
        let changed = json(&ScheduleNews::Changed(ScheduleStatus::default()));
        assert!(
            changed.starts_with(r#"{"news":"changed","name":"","when":"","#),
            "{changed}"
        );
        let mut answer = ScheduleNews::Answer {
            order: 3,
            error: None,
        };
        assert_eq!(json(&answer), r#"{"news":"answer","order":3}"#);
        if let ScheduleNews::Answer { error, .. } = &mut answer {
            *error = Some("no".to_owned());
        }
        assert_eq!(json(&answer), r#"{"news":"answer","order":3,"error":"no"}"#);
        let known = json(&ScheduleOrder::Known(ScheduleStatus::default()));
        assert!(
            known.starts_with(r#"{"order":"known","name":"","when":"","#),
            "{known}"
        );
        for (command, word) in [
            (Command::Run, "run"),
            (Command::Enable, "enable"),
            (Command::Disable, "disable"),
        ] {
            let name = "a".to_owned();
            let asked = ScheduleOrder::Asked {
                number: 3,
                name,
                command,
            };
            let golden = format!(r#"{{"order":"asked","number":3,"name":"a","command":"{word}"}}"#);
            assert_eq!(json(&asked), golden);
        }
    }

    /// What is seldom so is said only then.
    #[test]
    fn golden_runs() {
        let running = Running {
            number: 2,
            cause: Cause::Due,
            started_ms: 5,
            attempt: 2,
            elsewhere: true,
        };
        assert_eq!(
            serde_json::to_string(&running).unwrap(),
            r#"{"number":2,"cause":"due","started_ms":5,"attempt":2,"elsewhere":true}"#
        );
        let end = RunEnd {
            schedule: "a".to_owned(),
            number: 2,
            duration_ms: 9,
            outcome: Outcome::failed("no"),
        };
        let order = ScheduleOrder::Ended(end);
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(
            json,
            r#"{"order":"ended","schedule":"a","number":2,"duration_ms":9,"outcome":"failed","reason":"no"}"#
        );
        assert_eq!(serde_json::from_str::<ScheduleOrder>(&json).unwrap(), order);
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let Outcome::Failed { reason } = Outcome::failed("ä".repeat(MAX_REASON)) else {
            panic!("a failure")
        };
        assert!(reason.len() <= MAX_REASON + 6 && reason.ends_with("ä [...]"));
        assert_eq!(Outcome::lost("fits").reason(), Some("fits"));
    }
}
