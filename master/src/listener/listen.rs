//! One address to serve and how to serve it, as an operator writes both.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::option::{keys, known};
use super::{Address, AddressError, OpeningOptions, TcpOptions, UnixOptions};
use crate::strategy::Strategy;

/// An address with its options: `127.0.0.1:7001?strategy=shared&backlog=512`.
///
/// ```
/// use hatchery_master::Listen;
///
/// let listen: Listen = "[::1]:80?name=admin&backlog=16".parse().unwrap();
/// assert_eq!(listen.name.as_deref(), Some("admin"));
/// assert_eq!(listen.to_string(), "[::1]:80?name=admin&backlog=16");
/// assert!("[::1]:80?backlog=many".parse::<Listen>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// How workers tell this listener from others.
    pub name: Option<String>,
    /// How its connections are shared among workers, if not as all others are.
    pub strategy: Option<Strategy>,
    /// How many connections may wait in the kernel's queue. The kernel caps it at `net.core.somaxconn`.
    pub backlog: Option<u32>,
    /// Whether an IPv6 address takes no IPv4 clients; it takes none unless this says otherwise.
    pub v6only: Option<bool>,
    /// What comes before HTTP on its connections.
    pub opening: OpeningOptions,
    /// What concerns TCP alone.
    pub tcp: TcpOptions,
    /// What concerns unix sockets alone.
    pub unix: UnixOptions,
}

impl Listen {
    /// What is set on a socket that we make ourselves. One that was inherited is left as it is, unless the
    /// operator says otherwise.
    pub(super) fn own_tcp(&self) -> TcpOptions {
        TcpOptions {
            defer: Some(self.tcp.defer.unwrap_or(self.name.is_none())),
            ..self.tcp.clone()
        }
    }
}

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Self {
            address,
            name: None,
            strategy: None,
            backlog: None,
            v6only: None,
            opening: OpeningOptions::default(),
            tcp: TcpOptions::default(),
            unix: UnixOptions::default(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        let mut sign = '?';
        for key in keys() {
            if let Some(value) = (key.show)(self) {
                write!(f, "{sign}{}={value}", key.name)?;
                sign = '&';
            }
        }
        Ok(())
    }
}

/// Text that says not where to listen, or not how.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ListenError {
    /// No address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An option that there is not.
    #[error("`{option}` is no option of an address; known are: {known}", known = known())]
    Unknown {
        /// What was written.
        option: String,
    },
    /// An option that the address cannot have.
    #[error("`{option}` is an option of {of} only, and `{address}` is none of them")]
    Misplaced {
        /// Which one.
        option: &'static str,
        /// What can have it.
        of: &'static str,
        /// What was written.
        address: Address,
    },
    /// An option twice.
    #[error("`{option}` was given twice")]
    Twice {
        /// Which one.
        option: &'static str,
    },
    /// A value that the option cannot have.
    #[error("bad value `{value}` for the option `{option}`: it must be {expected}")]
    Value {
        /// Which option.
        option: &'static str,
        /// What was written.
        value: String,
        /// What would do.
        expected: String,
    },
    /// One half of what TLS needs.
    #[error("`{option}` needs `{other}` beside it: TLS takes a certificate and its private key")]
    Alone {
        /// What was given.
        option: &'static str,
        /// What was not.
        other: &'static str,
    },
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (address, options) = match text.split_once('?') {
            Some((address, options)) => (address, Some(options)),
            None => (text, None),
        };
        let mut listen = Self::from(address.parse::<Address>()?);
        for option in options.into_iter().flat_map(|options| options.split('&')) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let Some(key) = keys().find(|key| key.name == name) else {
                let option = name.to_owned();
                return Err(ListenError::Unknown { option });
            };
            if !(key.of.has)(&listen.address) {
                return Err(ListenError::Misplaced {
                    option: key.name,
                    of: key.of.words,
                    address: listen.address,
                });
            }
            if (key.show)(&listen).is_some() {
                return Err(ListenError::Twice { option: key.name });
            }
            (key.read)(&mut listen, value).map_err(|expected| ListenError::Value {
                option: key.name,
                value: value.to_owned(),
                expected,
            })?;
        }
        let (option, other) = match (&listen.opening.cert, &listen.opening.key) {
            (Some(_), None) => ("cert", "key"),
            (None, Some(_)) => ("key", "cert"),
            (Some(_), Some(_)) | (None, None) => return Ok(listen),
        };
        Err(ListenError::Alone { option, other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "127.0.0.1:7001",
            "[::1]:0?name=admin",
            "unix:/run/a.sock?strategy=shared&backlog=16",
            "systemd?name=web.1_2-3&strategy=shared&backlog=65535",
            "systemd:web?nodelay=true&keepalive=1h 30m",
            "[::]:80?v6only=false&nodelay=false&keepalive=30s&defer=false",
            "unix:/run/a.sock?mode=0660&owner=www-data:1000",
            "unix:/run/a.sock?owner=:www-data",
            "udp:[::]:53?name=dns&strategy=shared&v6only=false",
            "[::]:443?proxy-protocol=true&cert=/etc/a.pem&key=b.key",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_switch_needs_no_value() {
        let listen: Listen = "[::1]:1?proxy-protocol&name=a".parse().unwrap();
        assert!(listen.opening.proxy_protocol);
        assert_eq!(listen.to_string(), "[::1]:1?name=a&proxy-protocol=true");
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("7001?name=a", "`7001` is not an address"),
            (
                "127.0.0.1:1?",
                "`` is no option of an address; known are: name, ",
            ),
            ("127.0.0.1:1?nam=a", "`nam` is no option"),
            ("127.0.0.1:1?name=a&name=b", "`name` was given twice"),
            (
                "127.0.0.1:1?name",
                "bad value `` for the option `name`: it must be 1 to 64",
            ),
            ("127.0.0.1:1?name=a/b", "bad value `a/b`"),
            (
                "127.0.0.1:1?backlog=0",
                "it must be a number from 1 to 65535",
            ),
            (
                "127.0.0.1:1?backlog=65536",
                "it must be a number from 1 to 65535",
            ),
            (
                "127.0.0.1:1?strategy=luck",
                "for the option `strategy`: it must be ",
            ),
            (
                "127.0.0.1:1?mode=0660",
                "`mode` is an option of unix sockets only, and `127.0.0.1:1` is none",
            ),
            ("systemd?owner=root", "`owner` is an option of unix sockets"),
            ("unix:/a?mode=rw", "it must be octal"),
            ("unix:/a?mode=+7", "it must be octal"),
            ("unix:/a?mode=668", "it must be octal"),
            ("unix:/a?mode=4755", "at most 0777"),
            ("unix:/a?mode=", "it must be octal"),
            ("unix:/a?owner=", "it must be USER"),
            ("unix:/a?owner=a:", "it must be USER"),
            ("unix:/a?owner=:", "it must be USER"),
            ("unix:/a?owner=a:b:c", "it must be USER"),
            ("unix:/a?nodelay=true", "an option of TCP addresses"),
            ("udp:[::]:1?keepalive=1s", "an option of TCP addresses"),
            ("udp:[::]:1?backlog=1", "addresses that take connections"),
            ("0.0.0.0:1?v6only=false", "an option of IPv6 addresses"),
            ("systemd?v6only=false", "an option of IPv6 addresses"),
            ("[::]:1?v6only=no", "it must be true or false"),
            ("[::]:1?keepalive=30", "it must be a time"),
            ("[::]:1?keepalive=0s", "it must be a time"),
            ("[::]:1?keepalive=500ms", "it must be a time"),
            ("[::]:1?keepalive=1day", "it must be a time"),
            (
                "127.0.0.1:1?proxy-protocol=false",
                "for the option `proxy-protocol`: it must be true",
            ),
            ("127.0.0.1:1?cert=&key=a", "it must be the path of a file"),
            ("127.0.0.1:1?cert=a", "`cert` needs `key` beside it"),
            ("unix:/a?key=a", "`key` needs `cert` beside it"),
            ("udp:[::]:1?cert=a&key=b", "addresses that take connections"),
            (
                "udp:[::]:1?proxy-protocol",
                "addresses that take connections",
            ),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(sentence), "{text}: {error}");
        }
    }
}
