//! Why an address cannot be served, said so that whoever starts the application knows what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Address;
use super::conflict::Conflict;
use crate::strategy::Strategy;

/// Why an address cannot be served.
#[derive(Debug, Error)]
pub(crate) enum BindError {
    /// The system refused.
    #[error("cannot serve {address}: {hint}")]
    System {
        address: String,
        hint: String,
        source: io::Error,
    },
    /// The path of a unix socket is taken by something that is no socket.
    #[error(
        "cannot serve unix:{0}: the path exists and is not a socket; remove it or choose another path"
    )]
    NotASocket(PathBuf),
    /// The file of a unix socket cannot have the mode and the owner it is to have.
    #[error(
        "cannot serve {address}: its file cannot be given this mode and owner ({source}); only root may \
         give it to another user, and others only to a group of their own"
    )]
    Permissions { address: String, source: io::Error },
    /// Two addresses that exclude each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A strategy that needs a port of our own.
    #[error(
        "cannot serve {0} with the strategy {1}: it needs a TCP address that is not inherited; choose \
         another strategy for it"
    )]
    NoPort(String, Strategy),
    /// Something about a socket that was handed over and is not to be changed.
    #[error(
        "cannot serve {address}: its `{option}` cannot change while its socket goes on; restart the application \
         instead, or leave it as it was"
    )]
    Fixed {
        address: String,
        option: &'static str,
    },
    /// Nothing was inherited.
    #[error(
        "cannot serve systemd: no socket was inherited (LISTEN_FDS and LISTEN_PID do not name this \
         process); start the program from a socket unit, in the foreground"
    )]
    NothingInherited,
    /// The service manager says what cannot be.
    #[error(
        "cannot serve systemd: LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES do not fit what was inherited ({0})"
    )]
    BadEnvironment(io::Error),
    /// Not the one that was asked for.
    #[error("cannot serve {address}: no such socket was inherited; {left}")]
    NoSuchInherited { address: Address, left: String },
    /// Something that cannot be served was inherited.
    #[error(
        "cannot serve systemd: {descriptor} {what}; a socket unit has ListenStream= with Accept=no, or \
         ListenDatagram= for UDP"
    )]
    WrongKind {
        descriptor: String,
        what: &'static str,
    },
}

impl BindError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds are std's and open-ended; the system's own words serve for the rest"
    )]
    pub(super) fn system(address: &str, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "it is in use by another process; stop that one or choose another address"
                    .to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "it is not an address of this host".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "permission denied (ports below 1024 and some folders need privileges)".to_owned()
            }
            io::ErrorKind::NotFound => "its folder does not exist".to_owned(),
            _ => source.to_string(),
        };
        Self::System {
            address: address.to_string(),
            hint,
            source,
        }
    }
}
