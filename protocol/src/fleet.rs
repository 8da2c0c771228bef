//! What an agent tells of its link to the fleet: shown by `status` and counted by `metrics`.
//!
//! Kinds of errors and numbers, and no text: nothing in here can hold an address, a user or a password.

use serde::{Deserialize, Serialize};

/// The link of one host to its fleet, as of the agent's last beat. Counters begin with the agent's process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLink {
    /// Whether there is a connection.
    pub state: LinkState,
    /// For how long that has been so, in milliseconds.
    pub since_ms: u64,
    /// What is wrong at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<LinkTrouble>,
    /// What was wrong last, whether it still is or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trouble: Option<LinkTrouble>,
    /// How many members the fleet had when this one was last seen in it, itself included.
    pub members: u64,
    /// How many leases this member holds.
    pub leases: u64,
    /// How often a connection was lost.
    pub losses: u64,
    /// What became of messages.
    #[serde(flatten)]
    pub messages: FleetMessages,
}

/// Messages of one member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMessages {
    /// Redis took them.
    pub sent: u64,
    /// They were not sent, or nobody knows.
    pub refused: u64,
    /// They came, this member's own included.
    pub received: u64,
    /// They came, and a listener's queue was full.
    pub missed: u64,
    /// They came from another version, or from somebody who has no business there.
    pub unreadable: u64,
}

impl FleetMessages {
    /// The counts with their names.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("sent", self.sent),
            ("refused", self.refused),
            ("received", self.received),
            ("missed", self.missed),
            ("unreadable", self.unreadable),
        ]
    }

    /// Both together. What a child says is not to be trusted with the master's life, so nothing overflows.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            refused: self.refused.saturating_add(other.refused),
            received: self.received.saturating_add(other.received),
            missed: self.missed.saturating_add(other.missed),
            unreadable: self.unreadable.saturating_add(other.unreadable),
        }
    }
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// No agent has told.
    #[default]
    Unknown,
    /// There is none, and it is tried again and again.
    Connecting,
    /// There is one.
    Connected,
}

impl LinkState {
    /// The state in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
        }
    }
}

/// What can be wrong with the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkTrouble {
    /// Nobody answers, or not in time.
    Unreachable,
    /// The connection was closed, or Redis stopped to answer on it.
    Lost,
    /// The user or the password is wrong, or missing.
    Login,
    /// The user may not do what a fleet has to.
    Forbidden,
    /// TLS does not come about.
    Tls,
    /// Something else answers there, or a version that is too old.
    NotRedis,
    /// A file for the login or for TLS cannot be read.
    File,
    /// Redis has no memory left.
    Full,
    /// Redis refuses something else.
    Refused,
    /// There are more members than can be seen.
    Crowded,
}

impl LinkTrouble {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Login => "login refused",
            Self::Forbidden => "not allowed",
            Self::Tls => "no TLS",
            Self::NotRedis => "not Redis 6",
            Self::File => "unreadable file",
            Self::Full => "Redis is full",
            Self::Refused => "refused",
            Self::Crowded => "too many members",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of beats and of `status --json`.
    #[test]
    fn golden_link() {
        let link = FleetLink {
            state: LinkState::Connecting,
            since_ms: 1,
            trouble: Some(LinkTrouble::NotRedis),
            last_trouble: Some(LinkTrouble::NotRedis),
            members: 2,
            leases: 3,
            losses: 4,
            messages: FleetMessages {
                sent: 5,
                refused: 6,
                received: 7,
                missed: 8,
                unreadable: 9,
            },
        };
        let json = serde_json::to_string(&link).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"state":"connecting","since_ms":1,"trouble":"not-redis","last_trouble":"not-redis","members":2,"leases":3,"#,
                r#""losses":4,"sent":5,"refused":6,"received":7,"missed":8,"unreadable":9}"#
            )
        );
        assert_eq!(serde_json::from_str::<FleetLink>(&json).unwrap(), link);
    }

    #[test]
    fn sums_do_not_overflow() {
        let most = FleetMessages {
            sent: u64::MAX,
            missed: 1,
            ..FleetMessages::default()
        };
        assert_eq!(most.plus(most).sent, u64::MAX);
        assert_eq!(most.plus(most).named()[3], ("missed", 2));
    }
}
