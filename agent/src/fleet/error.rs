//! What can go wrong with a fleet, for its callers and for its operator.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a call to the fleet did nothing, or why nobody knows whether it did.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FleetError {
    /// The application runs without a fleet.
    #[error("this application has no fleet: set `fleet` to the address of a Redis server")]
    NotConfigured,
    /// There is no connection. Nothing was sent.
    #[error("the fleet's Redis cannot be reached")]
    Disconnected,
    /// The connection was lost, or no answer came in time. It may have been done or not.
    #[error("the fleet's Redis did not answer; what was asked may have been done or not")]
    Unanswered,
    /// Too much is on its way already. Nothing was sent.
    #[error("too much is on its way to the fleet already")]
    Busy,
    /// Redis has no memory left for it.
    #[error("the fleet's Redis is full (maxmemory)")]
    Full,
    /// Redis refused it, with this code, for example `NOPERM`.
    #[error("the fleet's Redis refused: {0}")]
    Refused(String),
    /// A topic or the name of a lease is empty or longer than it may be.
    #[error("a topic or name has 1 to {max} bytes, this has {len}", max = super::LONGEST_NAME)]
    Name {
        /// How long it is.
        len: usize,
    },
    /// A payload is larger than it may be.
    #[error("a payload has at most {max} bytes, this has {len}", max = super::LARGEST_PAYLOAD)]
    TooLarge {
        /// How large it is.
        len: usize,
    },
    /// More subscriptions, questions or leases than one process may have.
    #[error("there are too many {0} in this process already")]
    TooMany(&'static str),
    /// The payload is not of the type that is asked for, or has no form as JSON.
    #[error("the payload does not fit its type: {0}")]
    Payload(String),
    /// The message was no question, or it has its answer.
    #[error("there is nobody to answer, or the answer was given")]
    NoQuestion,
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
}
