//! Which times were taken under a lease: kept in its record, and changed by its holder alone.
//!
//! For what happens at certain times and once in the whole fleet. Redis compares the token with the record's in the
//! same step in which it notes the time, so what a former holder asks for too late is refused, and a time is taken once.

use std::time::Duration;

use redis::cmd;

use super::handle::LeaseHandle;
use crate::fleet::FleetError;

/// What a holder asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Which time was taken last?
    Last,
    /// Take this one.
    Take {
        /// Its name, if times of this rhythm have one: later ones are larger.
        due_ms: Option<u64>,
        /// For how long it has been over.
        late: Duration,
        /// The same when it is asked again, because there was no answer.
        number: u64,
    },
}

/// What Redis says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// The last one that was taken.
    Last {
        due_ms: Option<u64>,
        /// For how long it has been over, by Redis's clock.
        ago: Duration,
    },
    /// None of this rhythm was, as far as Redis knows.
    None,
    /// It is the asker's.
    Taken,
    /// It, or a later one, was taken before.
    Passed,
    /// The asker does not hold the lease.
    Others,
}

impl LeaseHandle {
    /// Asks Redis, once. `rhythm` tells times of one kind from those of another.
    pub(crate) async fn ask(
        &self,
        token: u64,
        rhythm: &str,
        word: &Word,
    ) -> Result<Time, FleetError> {
        let inner = self.inner();
        let mut command = cmd("EVAL");
        command
            .arg(include_str!("times.lua"))
            .arg(1)
            .arg(inner.keys.lease(self.name()));
        match word {
            Word::Last => command.arg("last").arg(token).arg(rhythm),
            Word::Take {
                due_ms,
                late,
                number,
            } => command
                .arg("take")
                .arg(token)
                .arg(rhythm)
                .arg(due_ms.map(|due| due.to_string()).unwrap_or_default())
                .arg(hatchery_protocol::clock::millis(*late))
                .arg(format!("{token}/{number}")),
        };
        let told: Vec<String> = inner.link.session()?.ask(&command).await?;
        read(&told).ok_or_else(|| FleetError::Payload(told.join(" ")))
    }
}

fn read(told: &[String]) -> Option<Time> {
    let words: Vec<&str> = told.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["last", due, ago] => Some(Time::Last {
            due_ms: due.parse().ok(),
            ago: Duration::from_millis(ago.parse().ok()?),
        }),
        ["none"] => Some(Time::None),
        ["taken"] => Some(Time::Taken),
        ["passed"] => Some(Time::Passed),
        ["others"] => Some(Time::Others),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_read_or_refused() {
        let told =
            |words: &[&str]| read(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        let ago = Duration::from_millis(7);
        let due_ms = Some(5);
        assert_eq!(told(&["last", "5", "7"]), Some(Time::Last { due_ms, ago }));
        let due_ms = None;
        assert_eq!(told(&["last", "", "7"]), Some(Time::Last { due_ms, ago }));
        for (word, time) in [
            ("none", Time::None),
            ("taken", Time::Taken),
            ("passed", Time::Passed),
            ("others", Time::Others),
        ] {
            assert_eq!(told(&[word]), Some(time));
        }
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["last", "5", "-1"]), None);
    }
}
