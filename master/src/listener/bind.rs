//! From an address to a socket: bound first, listening later.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use hatchery_protocol::boot::{Family, ListenerBoot, Source, TlsFiles};
use hatchery_protocol::id::Slot;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::conflict::{Conflict, check_addresses};
use super::handed::{Handed, Provenance};
use super::inherit::Inheritance;
use super::unix::{self, SocketFile};
use super::{Address, Listen, TcpOptions, per_slot, udp};
use crate::strategy::{Strategy, Way};
use crate::sys;

/// Connections that may wait for a worker, per socket. The kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: u32 = 4096;

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

/// One socket of the cluster.
#[derive(Debug)]
pub(crate) struct Listener {
    /// As a client would write it, with the real port.
    pub(crate) address: String,
    pub(crate) family: Family,
    pub(crate) strategy: Strategy,
    pub(super) name: Option<String>,
    pub(super) backlog: u32,
    /// The file of a unix socket that is ours to remove. Before the socket, so that it goes first: as long
    /// as the socket is open, nobody else's file can have the same number.
    pub(super) file: Option<SocketFile>,
    /// One, or one for each slot.
    pub(crate) sockets: Vec<Arc<OwnedFd>>,
    /// What each further socket of it has to be, too.
    pub(super) tcp: TcpOptions,
    /// Whether clients were ever kept from some of its sockets: then it is said anew which ones they come to.
    pub(super) narrowed: bool,
    pub(super) proxy_protocol: bool,
    pub(super) tls: Option<TlsFiles>,
    /// Whether there is nothing to do to make it listen.
    pub(super) listening: bool,
    pub(super) provenance: Provenance,
    /// Its place in the list of the master that handed it over.
    pub(super) adopted: Option<u16>,
    /// What is said about it now, for one that another master bound. Nothing of it is set on the socket before
    /// that master is done with it.
    pub(super) renewed: Option<Box<Listen>>,
}

impl Listener {
    /// Lets connections in. To fail here is possible even though the address was bound: with
    /// `SO_REUSEADDR` two processes can bind one port while neither listens (socket(7)), and a unix socket
    /// that does not listen can be taken for a stale one.
    pub(crate) fn listen(&self) -> Result<(), BindError> {
        if self.listening {
            return Ok(());
        }
        if self.file.as_ref().is_some_and(|file| !file.is_ours()) {
            let taken = io::ErrorKind::AddrInUse.into();
            return Err(BindError::system(&self.address, taken));
        }
        self.renew()
            .map_err(|e| BindError::system(&self.address, e))?;
        let backlog = i32::try_from(self.backlog).unwrap_or(i32::MAX);
        let listen = match self.sockets.as_slice() {
            [first, others @ ..] => rustix::net::listen(first, backlog)
                .map_err(io::Error::from)
                .and_then(|()| per_slot::listen(first, others, backlog)),
            [] => Ok(()),
        };
        listen.map_err(|e| BindError::system(&self.address, e))
    }

    /// Sees to it that so many slots have a socket, and that no client comes to the others. `open`: it listens.
    ///
    /// A socket is never given up while the master lives: who waits in its queue, or is about to, would be
    /// reset. What a slot that is no more still has, the master hands over to the others.
    pub(crate) fn set_slots(&mut self, slots: u32, open: bool) -> Result<(), BindError> {
        if !matches!(self.strategy.way(), Way::PerSlot) {
            return Ok(());
        }
        self.resize(slots, open)
            .map_err(|error| BindError::system(&self.address, error))
    }

    fn resize(&mut self, slots: u32, open: bool) -> io::Result<()> {
        let backlog = i32::try_from(self.backlog).unwrap_or(i32::MAX);
        let wanted = usize::try_from(slots).unwrap_or(usize::MAX);
        let Some(first) = self.sockets.first().map(Arc::clone) else {
            return Ok(());
        };
        while self.sockets.len() < wanted {
            let another = Arc::new(per_slot::another(&first, &self.tcp)?);
            if open {
                per_slot::listen(&first, std::slice::from_ref(&another), backlog)?;
            }
            self.sockets.push(another);
        }
        if open && (self.narrowed || wanted < self.sockets.len()) {
            sys::spread_over_first(first.as_fd(), slots)?;
            self.narrowed = true;
        }
        Ok(())
    }

    /// Sets on a socket that another master bound what is said about it now.
    fn renew(&self) -> io::Result<()> {
        let Some(listen) = &self.renewed else {
            return Ok(());
        };
        match self.family {
            Family::Tcp => {
                let options = listen.own_tcp();
                let mut sockets = self.sockets.iter();
                sockets.try_for_each(|socket| options.apply(&**socket))
            }
            Family::Unix => match &self.file {
                Some(file) => file.apply(&listen.unix),
                None => Ok(()),
            },
            Family::Udp => Ok(()),
        }
    }

    /// How it came to be.
    pub(crate) const fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Its place in the list of the master that handed it over.
    pub(crate) const fn adopted(&self) -> Option<u16> {
        self.adopted
    }

    /// From here on the file of a unix socket is ours to remove.
    pub(crate) const fn own_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.own();
        }
    }

    /// From here on it is somebody else's.
    pub(crate) const fn disown_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.disown();
        }
    }

    /// What a worker is told about it.
    pub(crate) fn boot(&self) -> ListenerBoot {
        let source = match self.strategy.way() {
            Way::HandOver(_) => Source::Handed,
            Way::Shared | Way::PerSlot => Source::Accept,
        };
        ListenerBoot {
            address: self.address.clone(),
            name: self.name.clone(),
            family: self.family,
            source,
            proxy_protocol: self.proxy_protocol,
            tls: self.tls.clone(),
        }
    }

    /// Whether it matters how many connections each worker has.
    pub(crate) fn counts_connections(&self) -> bool {
        self.strategy.counts_connections()
    }

    /// Whether a proxy has to say who a client is before it is decided who serves it.
    pub(crate) fn is_introduced(&self) -> bool {
        self.proxy_protocol && self.strategy.keeps_clients()
    }

    /// The socket that a slot's worker accepts from, if it does.
    pub(crate) fn socket_of(&self, slot: Slot) -> Option<BorrowedFd<'_>> {
        let index = match self.strategy.way() {
            Way::HandOver(_) => return None,
            Way::Shared => 0,
            Way::PerSlot => usize::try_from(slot).ok()?,
        };
        self.sockets.get(index).map(AsFd::as_fd)
    }
}

/// What is told of a listener, and outlives it.
#[derive(Debug)]
pub(crate) struct Served {
    /// As a client would write it.
    pub(crate) address: String,
    pub(crate) strategy: Strategy,
}

impl From<&Listener> for Served {
    fn from(listener: &Listener) -> Self {
        Self {
            address: listener.address.clone(),
            strategy: listener.strategy,
        }
    }
}

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
