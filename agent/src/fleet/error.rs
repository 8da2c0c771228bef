//! What can go wrong with a fleet's connection, for its operator. For its callers there is [`FleetError`].

use std::io;
use std::path::PathBuf;

use hatchery_protocol::fleet::LinkTrouble;
use thiserror::Error;

use super::FleetError;

/// What an error of a call says about the link, in one word.
pub(super) const fn kind(error: &FleetError) -> LinkTrouble {
    match error {
        FleetError::Disconnected | FleetError::Unanswered => LinkTrouble::Lost,
        FleetError::Full => LinkTrouble::Full,
        FleetError::TooMany(_) => LinkTrouble::Crowded,
        FleetError::NotConfigured
        | FleetError::AgentUnavailable
        | FleetError::Busy
        | FleetError::Memory(_)
        | FleetError::Refused(_)
        | FleetError::Name { .. }
        | FleetError::TooLarge { .. }
        | FleetError::Payload(_)
        | FleetError::NoQuestion => LinkTrouble::Refused,
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is of no known form.
    #[error("the address in `fleet` cannot be used")]
    Address,
    /// The password's file cannot be used.
    #[error("the file {} of `fleet_password_file` cannot be read: {source}", path.display())]
    PasswordFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificates' file cannot be used.
    #[error("the file {} of `fleet_ca_file` cannot be read: {source}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers, or not in time. Waiting may help.
    #[error("Redis at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// TLS does not come about.
    #[error("there is no TLS with Redis: {0}")]
    Tls(String),
    /// The user or the password is wrong, or missing.
    #[error(
        "Redis at {address} refuses the user or the password ({code}): see `fleet_user` and `fleet_password_file`"
    )]
    Login {
        /// Where.
        address: String,
        /// What Redis calls it.
        code: String,
    },
    /// The user may not do what a fleet has to.
    #[error(
        "Redis at {address} does not let this user in ({code}): docs/fleet.md says which rights it needs"
    )]
    Forbidden {
        /// Where.
        address: String,
        /// What Redis calls it.
        code: String,
    },
    /// Something else answers there.
    #[error("what answers at {address} is no Redis, or it expects TLS (rediss://)")]
    NotRedis {
        /// Where.
        address: String,
    },
    /// It is from before version 6.
    #[error("Redis at {address} has version {version}: a fleet needs 6 or later")]
    TooOld {
        /// Where.
        address: String,
        /// Its version.
        version: String,
    },
}

impl ConnectError {
    /// Whether waiting cannot help: somebody has to change a setting, here or in Redis.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }

    /// The same in one word.
    pub(super) const fn kind(&self) -> LinkTrouble {
        match self {
            Self::Address | Self::Unreachable { .. } => LinkTrouble::Unreachable,
            Self::PasswordFile { .. } | Self::CaFile { .. } => LinkTrouble::File,
            Self::Tls(_) => LinkTrouble::Tls,
            Self::Login { .. } => LinkTrouble::Login,
            Self::Forbidden { .. } => LinkTrouble::Forbidden,
            Self::NotRedis { .. } | Self::TooOld { .. } => LinkTrouble::NotRedis,
        }
    }
}
