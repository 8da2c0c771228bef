//! Addresses that cannot be served side by side, told before anything is bound.

use std::net::SocketAddr;

use thiserror::Error;

use super::{Address, Inherited, Listen};

/// Two addresses of one list that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The same one.
    #[error("{0} cannot be served twice: name it once")]
    Twice(Address),
    /// One includes the other.
    #[error("{0} cannot be served beside {1}, which includes it: leave out one of them")]
    Included(Address, Address),
}

/// Looks for addresses that exclude each other.
///
/// # Errors
///
/// The first two that do.
pub fn check_addresses(listens: &[Listen]) -> Result<(), Conflict> {
    for (i, later) in listens.iter().enumerate() {
        for earlier in listens.iter().take(i) {
            pair(earlier, later)?;
        }
    }
    Ok(())
}

fn pair(earlier: &Listen, later: &Listen) -> Result<(), Conflict> {
    let included = |inner: &Listen, outer: &Listen| {
        Conflict::Included(inner.address.clone(), outer.address.clone())
    };
    match (&earlier.address, &later.address) {
        (Address::Tcp(a), Address::Tcp(b)) | (Address::Udp(a), Address::Udp(b)) => {
            // Port 0 is another port each time.
            if a.port() != b.port() || a.port() == 0 {
                Ok(())
            } else if a == b {
                Err(Conflict::Twice(later.address.clone()))
            } else if includes(*a, earlier, *b) {
                Err(included(later, earlier))
            } else if includes(*b, later, *a) {
                Err(included(earlier, later))
            } else {
                Ok(())
            }
        }
        (Address::Systemd(Inherited::All), Address::Systemd(b)) if *b != Inherited::All => {
            Err(included(later, earlier))
        }
        (Address::Systemd(a), Address::Systemd(Inherited::All)) if *a != Inherited::All => {
            Err(included(earlier, later))
        }
        (a, b) if a == b => Err(Conflict::Twice(b.clone())),
        _ => Ok(()),
    }
}

/// Whether a client of `inner` could be a client of `outer` as well.
fn includes(outer: SocketAddr, listen: &Listen, inner: SocketAddr) -> bool {
    let dual = outer.is_ipv6() && listen.v6only == Some(false);
    outer.ip().is_unspecified() && (dual || outer.is_ipv6() == inner.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str]) -> Result<(), String> {
        let listens: Vec<Listen> = texts.iter().map(|text| text.parse().unwrap()).collect();
        check_addresses(&listens).map_err(|conflict| conflict.to_string())
    }

    #[test]
    fn what_can_be_served_side_by_side() {
        for texts in [
            ["127.0.0.1:80", "127.0.0.1:81"],
            ["127.0.0.1:80", "127.0.0.2:80"],
            ["127.0.0.1:0", "127.0.0.1:0"],
            ["0.0.0.0:0", "127.0.0.1:0"],
            ["0.0.0.0:80", "[::]:80"],
            ["0.0.0.0:80", "[::1]:80"],
            ["127.0.0.1:53", "udp:127.0.0.1:53"],
            ["unix:/a", "unix:/b"],
            ["systemd:a", "systemd:b"],
            ["systemd", "127.0.0.1:80"],
        ] {
            assert_eq!(check(&texts), Ok(()), "{texts:?}");
        }
    }

    #[test]
    fn what_cannot() {
        for (texts, words) in [
            (
                ["[::1]:80", "[::1]:80?name=again"],
                "[::1]:80 cannot be served twice",
            ),
            (["udp:127.0.0.1:53", "udp:127.0.0.1:53"], "twice"),
            (
                ["unix:/a", "unix:/a?mode=0600"],
                "unix:/a cannot be served twice",
            ),
            (["systemd", "systemd"], "twice"),
            (["systemd:a", "systemd:a"], "twice"),
            (
                ["systemd", "systemd#0"],
                "systemd#0 cannot be served beside systemd,",
            ),
            (
                ["systemd:a", "systemd"],
                "systemd:a cannot be served beside systemd,",
            ),
            (
                ["0.0.0.0:80", "127.0.0.1:80"],
                "127.0.0.1:80 cannot be served beside 0.0.0.0:80, which includes it",
            ),
            (
                ["[::1]:80", "[::]:80"],
                "[::1]:80 cannot be served beside [::]:80,",
            ),
            (
                ["0.0.0.0:80", "[::]:80?v6only=false"],
                "0.0.0.0:80 cannot be served beside [::]:80,",
            ),
            (
                ["udp:[::]:53?v6only=false", "udp:127.0.0.1:53"],
                "udp:127.0.0.1:53 cannot be served beside udp:[::]:53,",
            ),
        ] {
            let error = check(&texts).unwrap_err();
            assert!(error.contains(words), "{texts:?}: {error}");
        }
    }
}
