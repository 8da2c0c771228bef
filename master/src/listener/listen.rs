//! One address to serve and how to serve it, as an operator writes both.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Address, AddressError};
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
}

/// One option: its name, how it is read into a [`Listen`] and how it is written.
struct Key {
    name: &'static str,
    /// Fails with what the value has to be.
    read: fn(&mut Listen, &str) -> Result<(), String>,
    show: fn(&Listen) -> Option<String>,
}

/// Every option, in the order in which they are written.
const KEYS: &[Key] = &[
    Key {
        name: "name",
        read: |listen, text| {
            let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if text.is_empty() || text.len() > 64 || !text.chars().all(harmless) {
                return Err("1 to 64 characters out of A-Z a-z 0-9 . _ -".to_owned());
            }
            listen.name = Some(text.to_owned());
            Ok(())
        },
        show: |listen| listen.name.clone(),
    },
    Key {
        name: "strategy",
        read: |listen, text| {
            let strategy = text.parse().map_err(|_| Strategy::names())?;
            listen.strategy = Some(strategy);
            Ok(())
        },
        show: |listen| listen.strategy.map(|strategy| strategy.to_string()),
    },
    Key {
        name: "backlog",
        read: |listen, text| {
            let number = text.parse().ok().filter(|n| (1..=MAX_BACKLOG).contains(n));
            listen.backlog =
                Some(number.ok_or_else(|| format!("a number from 1 to {MAX_BACKLOG}"))?);
            Ok(())
        },
        show: |listen| listen.backlog.map(|backlog| backlog.to_string()),
    },
];

/// More than any kernel allows.
const MAX_BACKLOG: u32 = 65_535;

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Self {
            address,
            name: None,
            strategy: None,
            backlog: None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        let mut sign = '?';
        for key in KEYS {
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
}

fn known() -> String {
    let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    names.join(", ")
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
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                let option = name.to_owned();
                return Err(ListenError::Unknown { option });
            };
            if (key.show)(&listen).is_some() {
                return Err(ListenError::Twice { option: key.name });
            }
            (key.read)(&mut listen, value).map_err(|expected| ListenError::Value {
                option: key.name,
                value: value.to_owned(),
                expected,
            })?;
        }
        Ok(listen)
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
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
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
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(sentence), "{text}: {error}");
        }
    }
}
