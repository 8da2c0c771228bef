//! Connections for which a proxy speaks first: the strategy chooses by the client that it names, so they are
//! looked at before they are given to anybody.
//!
//! Nothing is taken off the connection (`MSG_PEEK`, recv(2)): the header is the worker's to read, and to judge.
//! Whoever says nothing in time, or nonsense, or is one too many, is passed on without a client.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::panic::catch_unwind;
use std::time::Duration;

use hatchery_protocol::proxy;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::account::Connection;

/// How long a proxy may take for its header before its connection is passed on as it is.
const WAIT: Duration = Duration::from_secs(1);
/// How many connections may be waited for: the master holds a bounded number.
const MOST: usize = 512;
/// The number of the first connection in events.
pub(super) const FIRST_PREFACE: u64 = 1 << 48;

/// Connections that are waited for.
#[derive(Debug)]
pub(super) struct Prefaces {
    /// In the order in which they came, and so in that of their deadlines.
    arriving: BTreeMap<u64, (Connection<OwnedFd>, Duration)>,
    next: u64,
}

impl Prefaces {
    pub(super) const fn new() -> Self {
        Self {
            arriving: BTreeMap::new(),
            next: FIRST_PREFACE,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.arriving.len()
    }

    /// Looks at a new connection. It comes back if there is nothing to wait for.
    pub(super) fn add(
        &mut self,
        epoll: &OwnedFd,
        mut connection: Connection<OwnedFd>,
        now: Duration,
    ) -> Option<Connection<OwnedFd>> {
        connection.client = None;
        // Most proxies send the header at once, so that it is here already.
        if self.len() >= MOST || look(&mut connection) {
            return Some(connection);
        }
        // Told once for each piece that arrives: what is left unread must not be told again and again.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(self.next);
        if epoll::add(epoll, &connection.it, data, flags).is_err() {
            return Some(connection);
        }
        self.arriving.insert(self.next, (connection, now + WAIT));
        self.next += 1;
        None
    }

    /// Something has happened to one; it comes back if it need not be waited for any more.
    pub(super) fn look(&mut self, epoll: &OwnedFd, number: u64) -> Option<Connection<OwnedFd>> {
        let (connection, _) = self.arriving.get_mut(&number)?;
        look(connection).then(|| self.take(epoll, number)).flatten()
    }

    /// The next one that has taken too long.
    pub(super) fn overdue(
        &mut self,
        epoll: &OwnedFd,
        now: Duration,
    ) -> Option<Connection<OwnedFd>> {
        let (number, (_, until)) = self.arriving.first_key_value()?;
        let (number, is_over) = (*number, now >= *until);
        is_over.then(|| self.take(epoll, number)).flatten()
    }

    /// When the first will have taken too long.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.arriving
            .first_key_value()
            .map(|(_, (_, until))| *until)
    }

    fn take(&mut self, epoll: &OwnedFd, number: u64) -> Option<Connection<OwnedFd>> {
        let (connection, _) = self.arriving.remove(&number)?;
        // A worker is going to watch the same socket; ours must not go on with it.
        let _ = epoll::delete(epoll, &connection.it);
        Some(connection)
    }
}

/// Finds out about the client. `false`: the header is not there yet.
fn look(connection: &mut Connection<OwnedFd>) -> bool {
    let mut bytes = [0; proxy::MAX_HEADER];
    let received = match recv(&connection.it, &mut bytes, RecvFlags::PEEK) {
        Ok((_, 0)) => return true,
        Ok((_, received)) => received,
        Err(Errno::WOULDBLOCK) => return false,
        Err(_) => return true,
    };
    let bytes = bytes.get(..received).unwrap_or_default();
    // They are a stranger's and the parser is a library's: whatever it does, the master lives.
    match catch_unwind(|| proxy::parse(bytes)) {
        Ok(Ok(None)) => false,
        Ok(Ok(Some((_, proxied)))) => {
            connection.client = proxied.map(|proxied| proxied.source.ip());
            true
        }
        // The worker says what is wrong with it.
        Ok(Err(_)) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::IpAddr;
    use std::os::unix::net::UnixStream;

    use super::*;

    const CLIENT: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n";

    fn desk() -> (Prefaces, OwnedFd) {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        (Prefaces::new(), epoll)
    }

    fn connection() -> (UnixStream, Connection<OwnedFd>) {
        let (proxy, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let it = server.into();
        let client = None;
        (
            proxy,
            Connection {
                listener: 0,
                client,
                it,
            },
        )
    }

    fn known(connection: Option<Connection<OwnedFd>>) -> Option<IpAddr> {
        connection.expect("it is waited for").client
    }

    #[test]
    fn a_header_that_is_here_needs_no_wait() {
        let (mut prefaces, epoll) = desk();
        for (header, client) in [
            (CLIENT, Some([192, 0, 2, 7].into())),
            (b"PROXY UNKNOWN\r\n", None),
            (b"GET / HTTP/1.1\r\n\r\n", None),
        ] {
            let (mut proxy, connection) = connection();
            proxy.write_all(header).unwrap();
            let added = prefaces.add(&epoll, connection, Duration::ZERO);
            assert_eq!(known(added), client);
        }
        let (gone, connection) = connection();
        drop(gone);
        assert!(prefaces.add(&epoll, connection, Duration::ZERO).is_some());
    }

    #[test]
    fn a_header_in_pieces_is_waited_for_and_stays_to_be_read() {
        let (mut prefaces, epoll) = desk();
        let (mut proxy, connection) = connection();
        assert!(prefaces.add(&epoll, connection, Duration::ZERO).is_none());
        let (first, second) = CLIENT.split_at(20);
        proxy.write_all(first).unwrap();
        assert!(prefaces.look(&epoll, FIRST_PREFACE).is_none());
        proxy.write_all(second).unwrap();
        let whole = prefaces.look(&epoll, FIRST_PREFACE).unwrap();
        assert_eq!(whole.client, Some([192, 0, 2, 7].into()));
        let mut bytes = [0; 100];
        let (_, received) = recv(&whole.it, &mut bytes, RecvFlags::empty()).unwrap();
        assert_eq!(&bytes[..received], CLIENT);
        assert_eq!(prefaces.len(), 0);
    }

    #[test]
    fn nobody_is_waited_for_too_long_nor_too_many() {
        let (mut prefaces, epoll) = desk();
        let mut proxies = Vec::new();
        for second in 0..MOST as u64 {
            let (proxy, connection) = connection();
            proxies.push(proxy);
            let now = Duration::from_secs(second);
            assert!(prefaces.add(&epoll, connection, now).is_none());
        }
        let (_proxy, one_too_many) = connection();
        let now = Duration::from_secs(MOST as u64);
        assert!(prefaces.add(&epoll, one_too_many, now).is_some());
        assert_eq!(prefaces.deadline(), Some(WAIT));
        assert!(prefaces.overdue(&epoll, WAIT / 2).is_none());
        assert!(prefaces.overdue(&epoll, WAIT).is_some());
        assert!(prefaces.overdue(&epoll, WAIT).is_none());
    }
}
