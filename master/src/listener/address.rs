//! Where a cluster listens, as an operator writes it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// The longest path of a unix socket, in bytes: `sun_path` of unix(7) without its final zero.
pub(crate) const MAX_UNIX_PATH: usize = 107;

/// An address to listen on.
///
/// ```
/// use hatchery_master::Address;
///
/// let address: Address = "unix:/run/app.sock".parse().unwrap();
/// assert_eq!(address.to_string(), "unix:/run/app.sock");
/// assert!("nonsense".parse::<Address>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:7001`, `[::1]:7001`. Port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `udp:127.0.0.1:5353`: no connections, but a socket that every worker has.
    Udp(SocketAddr),
    /// `systemd`, `systemd:NAME`, `systemd#N`: sockets that a service manager hands over.
    Systemd(Inherited),
}

/// Which of the sockets that `LISTEN_FDS` hands over (sd_listen_fds(3)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherited {
    /// `systemd`: all, in the order in which they were handed over.
    All,
    /// `systemd:NAME`: those of that `FileDescriptorName=`.
    Named(String),
    /// `systemd#N`: the one at this place, counted from 0. (With a colon it could be a name: a name may
    /// hold anything else.)
    Nth(usize),
}

impl Address {
    /// Where an application listens that says nothing else, as in Egg.
    pub const DEFAULT: Self = Self::Tcp(SocketAddr::new(
        std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
        7001,
    ));
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Systemd(Inherited::All) => f.write_str("systemd"),
            Self::Systemd(Inherited::Named(name)) => write!(f, "systemd:{name}"),
            Self::Systemd(Inherited::Nth(n)) => write!(f, "systemd#{n}"),
        }
    }
}

/// Text that is no address.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// None of the known forms.
    #[error(
        "`{0}` is not an address; write 127.0.0.1:7001, [::1]:7001, unix:/path, udp:127.0.0.1:5353 or \
         systemd"
    )]
    Unknown(String),
    /// `systemd:` without a name, or `systemd#` without a number.
    #[error(
        "`{0}` does not say which socket; write systemd, systemd:NAME or systemd#0 for the first"
    )]
    Which(String),
    /// A unix path that is empty or relative.
    #[error("`unix:{0}` needs an absolute path")]
    Relative(String),
    /// A unix path that no socket can have.
    #[error("`unix:{path}` is {length} bytes long; a socket's path has at most 107")]
    TooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        length: usize,
    },
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let which = || AddressError::Which(text.to_owned());
        if text == "systemd" {
            return Ok(Self::Systemd(Inherited::All));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let fits = !name.is_empty() && !name.contains([':', '\0']);
            let named = || Self::Systemd(Inherited::Named(name.to_owned()));
            return fits.then(named).ok_or_else(which);
        }
        if let Some(number) = text.strip_prefix("systemd#") {
            let nth = |n| Self::Systemd(Inherited::Nth(n));
            return number.parse().map(nth).map_err(|_| which());
        }
        if let Some(address) = text.strip_prefix("udp:") {
            let unknown = |_| AddressError::Unknown(text.to_owned());
            return address.parse().map(Self::Udp).map_err(unknown);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(AddressError::Relative(path.to_owned()));
            }
            if path.len() > MAX_UNIX_PATH {
                return Err(AddressError::TooLong {
                    length: path.len(),
                    path: path.to_owned(),
                });
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| AddressError::Unknown(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_parse_and_print_alike() {
        for text in [
            "127.0.0.1:7001",
            "[::1]:7001",
            "0.0.0.0:0",
            "unix:/run/a.sock",
            "udp:127.0.0.1:5353",
            "udp:[::1]:0",
            "systemd",
            "systemd:web",
            "systemd:0",
            "systemd#0",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for text in [
            "",
            "7001",
            "localhost:7001",
            "127.0.0.1",
            "127.0.0.1:99999",
            "tcp:/x",
            "udp:",
            "udp:localhost:53",
            "systemdx",
        ] {
            assert_eq!(
                text.parse::<Address>(),
                Err(AddressError::Unknown(text.into()))
            );
        }
        for text in [
            "systemd:",
            "systemd:a:b",
            "systemd#",
            "systemd#first",
            "systemd#-1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error, AddressError::Which(text.into()));
        }
        assert_eq!(
            "unix:a".parse::<Address>(),
            Err(AddressError::Relative("a".into()))
        );
        let long = format!("unix:/{}", "x".repeat(MAX_UNIX_PATH));
        assert!(matches!(
            long.parse::<Address>(),
            Err(AddressError::TooLong { .. })
        ));
    }
}
