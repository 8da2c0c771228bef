//! What is set on a listening TCP socket for the connections that will come from it.
//!
//! On Linux an accepted socket inherits all of it, so it costs nothing for a connection, and holds whoever
//! accepts it.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::Address;
use super::option::{Key, Of, switch};
use crate::sys;

/// Unanswered probes after which a peer counts as gone.
const PROBES: u32 = 3;

/// The longest time that tcp(7) takes for `TCP_KEEPIDLE`: about nine hours.
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);

/// After how many seconds of silence a client is accepted all the same, so that its silence is noticed.
const DEFERRED: i32 = 1;

/// What may be said about a TCP address alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Whether what is written is sent at once (`TCP_NODELAY`); it is, unless this says otherwise.
    pub nodelay: Option<bool>,
    /// After how much silence the kernel begins to ask whether the peer is still there. It never does,
    /// unless this says so: requests have limits of their own.
    pub keepalive: Option<Duration>,
    /// Whether a connection is accepted when its first bytes are there: most of the cost of waiting for them
    /// is saved, which is a fifth of the whole cost of a short connection. Wrong for protocols in which the
    /// server speaks first, which are served under a name; hence it is on unless the address has one.
    pub defer: Option<bool>,
}

impl TcpOptions {
    /// Sets it on a socket that listens, or will.
    pub(super) fn apply<'s>(&self, socket: impl Into<SockRef<'s>>) -> io::Result<()> {
        let socket = socket.into();
        socket.set_tcp_nodelay(self.nodelay.unwrap_or(true))?;
        if let Some(time) = self.keepalive {
            // All probes together take as long as the silence before the first.
            let interval = (time / PROBES).max(Duration::from_secs(1));
            let keepalive = TcpKeepalive::new()
                .with_time(time)
                .with_interval(interval)
                .with_retries(PROBES);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        if let Some(defer) = self.defer {
            let seconds = if defer { DEFERRED } else { 0 };
            sys::defer_accept(socket.as_fd(), seconds)?;
        }
        Ok(())
    }
}

const TCP: Of = Of {
    words: "TCP addresses",
    has: |address| matches!(address, Address::Tcp(_) | Address::Systemd(_)),
};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "nodelay",
        of: TCP,
        read: |listen, text| {
            listen.tcp.nodelay = Some(switch(text)?);
            Ok(())
        },
        show: |listen| listen.tcp.nodelay.map(|nodelay| nodelay.to_string()),
    },
    Key {
        name: "keepalive",
        of: TCP,
        read: |listen, text| {
            let fits = |time: &Duration| {
                let range = Duration::from_secs(1)..=MAX_KEEPALIVE;
                range.contains(time) && time.subsec_nanos() == 0
            };
            let time = humantime::parse_duration(text).ok().filter(fits);
            let time = time.ok_or("a time in whole seconds, like 30s or 5m, up to 9h")?;
            listen.tcp.keepalive = Some(time);
            Ok(())
        },
        show: |listen| {
            let shown = |time| humantime::format_duration(time).to_string();
            listen.tcp.keepalive.map(shown)
        },
    },
    Key {
        name: "defer",
        of: TCP,
        read: |listen, text| {
            listen.tcp.defer = Some(switch(text)?);
            Ok(())
        },
        show: |listen| listen.tcp.defer.map(|defer| defer.to_string()),
    },
];

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn accepted(options: &TcpOptions) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        options.apply(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap().0
    }

    #[test]
    fn accepted_sockets_inherit_all_of_it() {
        let stream = accepted(&TcpOptions::default());
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());

        let stream = accepted(&TcpOptions {
            nodelay: Some(false),
            keepalive: Some(Duration::from_secs(30)),
            defer: None,
        });
        let socket = SockRef::from(&stream);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(30)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
    }

    #[test]
    fn a_deferred_client_comes_with_its_first_bytes_or_after_a_while() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = TcpOptions {
            defer: Some(true),
            ..TcpOptions::default()
        };
        options.apply(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let silent = TcpStream::connect(address).unwrap();
        let mut eager = TcpStream::connect(address).unwrap();
        eager.write_all(b"hello").unwrap();
        let clients = [&eager, &silent].map(|client| client.local_addr().unwrap());
        let accepted = [(); 2].map(|()| listener.accept().unwrap().1);
        assert_eq!(accepted, clients, "the silent one came first");
    }
}
