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
    /// 1: a child whose hook failed. Seen by the master only.
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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
