//! What may be said about an address, one [`Key`] for each option.

use super::{Address, Listen, opening, owner, tcp};
use crate::strategy::Strategy;

/// One option: its name, how it is read into a [`Listen`] and how it is written.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) of: Of,
    /// Fails with what the value has to be.
    pub(super) read: fn(&mut Listen, &str) -> Result<(), String>,
    pub(super) show: fn(&Listen) -> Option<String>,
}

/// Which addresses have an option: in words, and whether one is among them.
#[derive(Clone, Copy)]
pub(super) struct Of {
    pub(super) words: &'static str,
    pub(super) has: fn(&Address) -> bool,
}

/// Every option, in the order in which they are written.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    [GENERAL, opening::KEYS, tcp::KEYS, owner::KEYS]
        .into_iter()
        .flatten()
}

/// Their names, for messages.
pub(super) fn known() -> String {
    let names: Vec<_> = keys().map(|key| key.name).collect();
    names.join(", ")
}

const EVERY_ADDRESS: Of = Of {
    words: "every address",
    has: |_| true,
};

pub(super) const CONNECTIONS: Of = Of {
    words: "addresses that take connections",
    has: |address| !matches!(address, Address::Udp(_)),
};

const IPV6: Of = Of {
    words: "IPv6 addresses",
    has: |address| matches!(address, Address::Tcp(ip) | Address::Udp(ip) if ip.is_ipv6()),
};

/// More than any kernel allows.
const MAX_BACKLOG: u32 = 65_535;

const GENERAL: &[Key] = &[
    Key {
        name: "name",
        of: EVERY_ADDRESS,
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
        of: EVERY_ADDRESS,
        read: |listen, text| {
            let strategy = text.parse().map_err(|_| Strategy::names())?;
            if matches!(listen.address, Address::Udp(_)) && strategy != Strategy::SHARED {
                return Err("shared: every worker has the one socket of a UDP address".to_owned());
            }
            listen.strategy = Some(strategy);
            Ok(())
        },
        show: |listen| listen.strategy.map(|strategy| strategy.to_string()),
    },
    Key {
        name: "backlog",
        of: CONNECTIONS,
        read: |listen, text| {
            let number = text.parse().ok().filter(|n| (1..=MAX_BACKLOG).contains(n));
            listen.backlog =
                Some(number.ok_or_else(|| format!("a number from 1 to {MAX_BACKLOG}"))?);
            Ok(())
        },
        show: |listen| listen.backlog.map(|backlog| backlog.to_string()),
    },
    Key {
        name: "v6only",
        of: IPV6,
        read: |listen, text| {
            listen.v6only = Some(switch(text)?);
            Ok(())
        },
        show: |listen| listen.v6only.map(|only| only.to_string()),
    },
];

/// Yes or no, as in the settings.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}
