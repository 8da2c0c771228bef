//! From an address to a socket: bound first, listening later.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hatchery_protocol::boot::Family;
use socket2::{Domain, SockAddr, Socket, Type};

use super::conflict::check_addresses;
use super::error::BindError;
use super::handed::{Handed, Provenance};
use super::inherit::Inheritance;
use super::sockets::Listener;
use super::unix::{self, SocketFile};
use super::{Address, Listen, per_slot, udp};
use crate::strategy::{Strategy, Way};

/// Connections that may wait for a worker, per socket. The kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: u32 = 4096;

/// A socket that is bound, or listens already: what makes a [`Listener`] with what was said about it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: String,
    /// What somebody else calls it.
    pub(super) name: Option<String>,
    pub(super) family: Family,
    pub(super) socket: OwnedFd,
    /// Those of other slots, if there are any already.
    pub(super) more: Vec<OwnedFd>,
    /// Whether somebody else made it listen already, or it never has to.
    pub(super) listening: bool,
    pub(super) file: Option<SocketFile>,
    pub(super) provenance: Provenance,
    /// Its place in the list of the master that handed it over.
    pub(super) adopted: Option<u16>,
}

impl Bound {
    fn into_listener(self, listen: &Listen, shares: Shares) -> Result<Listener, BindError> {
        let strategy = match self.family {
            // There is only one way to share a socket without connections.
            Family::Udp => Strategy::SHARED,
            Family::Tcp | Family::Unix => listen.strategy.unwrap_or(shares.strategy),
        };
        // A socket that listens already does so anew for a backlog of another length.
        let again = listen.backlog.is_some() && self.family != Family::Udp;
        let mut sockets = vec![self.socket];
        sockets.extend(self.more);
        let handed = self.adopted.is_some() && matches!(self.provenance, Provenance::Bound { .. });
        if matches!(strategy.way(), Way::PerSlot) {
            if self.family != Family::Tcp || self.listening {
                return Err(BindError::NoPort(self.address, strategy));
            }
            per_slot::extend(&mut sockets, shares.workers, &listen.own_tcp())
                .map_err(|e| BindError::system(&self.address, e))?;
        }
        let sockets = sockets.into_iter().map(Arc::new).collect();
        Ok(Listener {
            address: self.address,
            family: self.family,
            strategy,
            name: listen.name.clone().or(self.name),
            backlog: listen.backlog.unwrap_or(BACKLOG),
            proxy_protocol: listen.opening.proxy_protocol,
            tls: listen.opening.tls(),
            tcp: listen.own_tcp(),
            // Whether its group was narrowed before is not known.
            narrowed: handed,
            file: self.file,
            sockets,
            listening: self.listening && !again,
            provenance: self.provenance,
            adopted: self.adopted,
            renewed: handed.then(|| Box::new(listen.clone())),
        })
    }
}

/// Among whom connections are shared, and how where an address does not say otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) strategy: Strategy,
    pub(crate) workers: u32,
}

/// Binds every address, or none. What is handed over is taken where an address means it, and the rest of it
/// is closed.
pub(crate) fn bind_all(
    listens: &[Listen],
    shares: Shares,
    mut inheritance: Inheritance,
    mut handed: Vec<Handed>,
) -> Result<Vec<Listener>, BindError> {
    check_addresses(listens)?;
    let mut listeners = Vec::new();
    for listen in listens {
        let known = Handed::take(&mut handed, listen);
        if let Some(known) = known {
            listeners.push(known.into_bound(listen)?.into_listener(listen, shares)?);
            continue;
        }
        let bound = match &listen.address {
            Address::Tcp(address) => vec![bind_tcp(*address, listen)?],
            Address::Unix(path) => vec![unix::bind(path, &listen.unix)?],
            Address::Udp(address) => vec![udp::bind(*address, listen)?],
            Address::Systemd(which) => inheritance.give(which, listen)?,
        };
        for bound in bound {
            listeners.push(bound.into_listener(listen, shares)?);
        }
    }
    inheritance.leave();
    Ok(listeners)
}

fn bind_tcp(address: SocketAddr, listen: &Listen) -> Result<Bound, BindError> {
    let bind = || -> io::Result<(Socket, SocketAddr)> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            None,
        )?;
        if address.is_ipv6() {
            // So that `0.0.0.0:80` and `[::]:80` can be served side by side, on every host.
            socket.set_only_v6(listen.v6only.unwrap_or(true))?;
        }
        // A restart must not wait for connections of the previous life to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
        listen.own_tcp().apply(&socket)?;
        socket.bind(&SockAddr::from(address))?;
        let real = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, real))
    };
    let (socket, real) = bind().map_err(|e| BindError::system(&address.to_string(), e))?;
    Ok(Bound {
        address: real.to_string(),
        name: None,
        family: Family::Tcp,
        socket: socket.into(),
        more: Vec::new(),
        listening: false,
        file: None,
        provenance: Provenance::Bound {
            asked: address.to_string(),
            address: real.to_string(),
            family: Family::Tcp,
            file: None,
        },
        adopted: None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SHARES: Shares = Shares {
        strategy: Strategy::ROUND_ROBIN,
        workers: 3,
    };

    fn bind(text: &str) -> Result<Vec<Listener>, BindError> {
        let listens = [text.parse().unwrap()];
        bind_all(&listens, SHARES, Inheritance::default(), Vec::new())
    }

    #[test]
    fn a_bound_address_refuses_until_it_listens() {
        let listeners = bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listeners[0].address.parse().unwrap();
        assert_ne!(address.port(), 0);
        assert!(TcpStream::connect(address).is_err());
        listeners[0].listen().unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(&address.to_string()).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("in use"),
            "{error}"
        );
    }

    #[test]
    fn a_second_master_fails_at_listen_when_both_could_bind() {
        let first = bind("127.0.0.1:0").unwrap();
        let second = bind(&first[0].address).unwrap();
        first[0].listen().unwrap();
        let error = second[0].listen().unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let error = bind("192.0.2.1:80").unwrap_err().to_string();
        assert!(error.contains("not an address of this host"), "{error}");
    }

    #[test]
    fn a_unix_socket_is_reclaimed_when_stale_refused_when_live_and_removed_by_its_creator() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let text = format!("unix:{}", path.display());
        // Stale: bound once, never removed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = bind(&text).unwrap();
        live[0].listen().unwrap();
        let error = bind(&text).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        drop(live);
        assert!(!path.exists(), "its creator removes it");

        std::fs::write(&path, "precious").unwrap();
        let error = bind(&text).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_unix_socket_that_was_replaced_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let ours = bind(&format!("unix:{}", path.display())).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }
}
