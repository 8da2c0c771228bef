//! Exit codes: a contract with shells, service managers and scripts.

use std::process::ExitCode;

/// Why a process ended, as its exit code.
///
/// ```
/// use hatchery_protocol::exit::Exit;
/// assert_eq!(Exit::BindFailed.code(), 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// 0: an orderly stop, or a command that did what it was asked.
    Orderly,
    /// 1: a child whose hook failed, or a run of a schedule that an operator asked for and that did not succeed.
    HookFailed,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: a process failed to start, so nothing was left running.
    StartFailed,
    /// 4: a value in the configuration file or the environment is wrong.
    BadConfig,
    /// 5: an address could not be bound.
    BindFailed,
    /// 6: the application already runs (`start`) or does not run (every other command).
    RunState,
    /// 7: a reload or an upgrade failed; what ran before still runs.
    RolloutFailed,
    /// 70: hatchery itself failed (`EX_SOFTWARE` of sysexits.h).
    Internal,
    /// 110: a child that lost its master and ended itself, as in Egg.
    LostMaster,
}

impl Exit {
    /// The number the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Orderly => 0,
            Self::HookFailed => 1,
            Self::Usage => 2,
            Self::StartFailed => 3,
            Self::BadConfig => 4,
            Self::BindFailed => 5,
            Self::RunState => 6,
            Self::RolloutFailed => 7,
            Self::Internal => 70,
            Self::LostMaster => 110,
        }
    }
}

/// How a child's life ended, as far as its master can tell: for people and machines that count.
///
/// ```
/// use hatchery_protocol::exit::ExitKind;
/// assert_eq!(ExitKind::StartTimeout.as_str(), "start-timeout");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ExitKind {
    /// It left with code 0: told to, as in a stop, or of its own accord.
    Orderly,
    /// It left with another code.
    Code,
    /// A signal ended it that the master did not send.
    Signal,
    /// Its `start` took too long, or it did not even get as far as that in this time.
    StartTimeout,
    /// Its runtime or its process did not answer for too long.
    Hung,
    /// It had served enough requests, lived long enough or taken enough memory.
    Recycled,
    /// A process of another generation took its place.
    Replaced,
    /// It lost its link to the master, or used it wrongly.
    LostLink,
    /// Its process could not be created.
    SpawnFailed,
    /// Nobody knows: somebody else waited for it.
    Unknown,
}

impl ExitKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Orderly,
        Self::Code,
        Self::Signal,
        Self::StartTimeout,
        Self::Hung,
        Self::Recycled,
        Self::Replaced,
        Self::LostLink,
        Self::SpawnFailed,
        Self::Unknown,
    ];

    /// The kind as it is written, `kebab-case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orderly => "orderly",
            Self::Code => "code",
            Self::Signal => "signal",
            Self::StartTimeout => "start-timeout",
            Self::Hung => "hung",
            Self::Recycled => "recycled",
            Self::Replaced => "replaced",
            Self::LostLink => "lost-link",
            Self::SpawnFailed => "spawn-failed",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for ExitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_they_are_shown() {
        for kind in ExitKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
