//! Sockets that a service manager opened for us: sd_listen_fds(3).
//!
//! They are taken over before the master opens anything itself, so that the numbers which the environment
//! names can be nobody else's. They listen already: connections that come before the workers are ready wait
//! in the backlog.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use hatchery_protocol::boot::Family;
use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::{SockAddr, SockRef};

use super::bind::Bound;
use super::error::BindError;
use super::handed::{Handed, Provenance};
use super::{Inherited, Listen};
use crate::sys;

/// The number of the first of them (sd_listen_fds(3)).
const FIRST: usize = 3;

/// What was handed over and is not served yet. What is left when this is dropped is closed.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    sockets: Vec<Option<Descriptor>>,
    /// Why there are none, if that is not the way it should be.
    wrong: Option<io::Error>,
}

/// One inherited descriptor, whatever it is.
#[derive(Debug)]
struct Descriptor {
    fd: OwnedFd,
    number: usize,
    name: String,
    /// Its place in the list of the master that handed it over.
    adopted: Option<u16>,
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inherited descriptor {} ({})", self.number, self.name)
    }
}

impl Inheritance {
    /// Takes over what the environment says is meant for this process. To be called once, before anything
    /// is opened.
    pub(crate) fn take() -> Self {
        match sys::inherited_descriptors() {
            Ok(found) => Self {
                sockets: (FIRST..)
                    .zip(found)
                    .map(|(number, (fd, name))| {
                        Some(Descriptor {
                            fd,
                            number,
                            name,
                            adopted: None,
                        })
                    })
                    .collect(),
                wrong: None,
            },
            Err(error) => Self {
                sockets: Vec::new(),
                wrong: Some(error),
            },
        }
    }

    /// What another master inherited and hands over, at the places that it had there; takes it out of `handed`.
    pub(crate) fn of_another(handed: &mut Vec<Handed>) -> Self {
        let mut sockets: Vec<Option<Descriptor>> = Vec::new();
        let (inherited, bound) = std::mem::take(handed)
            .into_iter()
            .partition(|handed| matches!(handed.provenance, Provenance::Inherited { .. }));
        *handed = bound;
        let inherited: Vec<Handed> = inherited;
        for handed in inherited {
            let (Provenance::Inherited { number, name }, Some(fd)) =
                (handed.provenance, handed.sockets.into_iter().next())
            else {
                continue;
            };
            let place = number.saturating_sub(FIRST);
            if sockets.len() <= place {
                sockets.resize_with(place + 1, || None);
            }
            if let Some(empty) = sockets.get_mut(place) {
                *empty = Some(Descriptor {
                    fd,
                    number,
                    name,
                    adopted: Some(handed.listener),
                });
            }
        }
        Self {
            sockets,
            wrong: None,
        }
    }

    /// The sockets that an address means.
    pub(super) fn give(
        &mut self,
        which: &Inherited,
        listen: &Listen,
    ) -> Result<Vec<Bound>, BindError> {
        if let Some(error) = self.wrong.take() {
            return Err(BindError::BadEnvironment(error));
        }
        if self.sockets.is_empty() {
            return Err(BindError::NothingInherited);
        }
        let found: Vec<Descriptor> = match which {
            Inherited::All => self.sockets.iter_mut().filter_map(Option::take).collect(),
            Inherited::Named(name) => {
                let named = |socket: &&mut Option<Descriptor>| {
                    socket.as_ref().is_some_and(|socket| socket.name == *name)
                };
                let named = self.sockets.iter_mut().filter(named);
                named.filter_map(Option::take).collect()
            }
            Inherited::Nth(n) => {
                let socket = self.sockets.get_mut(*n).and_then(Option::take);
                socket.into_iter().collect()
            }
        };
        if found.is_empty() {
            return Err(BindError::NoSuchInherited {
                address: listen.address.clone(),
                left: self.names(),
            });
        }
        found.into_iter().map(|d| bound(d, listen)).collect()
    }

    /// Says what is closed, because no address means it.
    pub(super) fn leave(self) {
        for socket in self.sockets.iter().flatten() {
            tracing::warn!("{socket} is closed: no address to listen on means it");
        }
    }

    /// What is there to choose from, for messages.
    fn names(&self) -> String {
        let names: Vec<&str> = self.sockets.iter().flatten().map(|d| &*d.name).collect();
        if names.is_empty() {
            return "none is left".to_owned();
        }
        format!("there are {}", names.join(", "))
    }
}

fn bound(descriptor: Descriptor, listen: &Listen) -> Result<Bound, BindError> {
    let family = kind(&descriptor).map_err(|what| BindError::WrongKind {
        descriptor: descriptor.to_string(),
        what,
    })?;
    let prepare = || -> io::Result<SockAddr> {
        rustix::io::ioctl_fionbio(&descriptor.fd, true)?;
        if family == Family::Tcp {
            listen.tcp.apply(&descriptor.fd)?;
        }
        SockRef::from(&descriptor.fd).local_addr()
    };
    let address = prepare().map_err(|e| BindError::system(&listen.address.to_string(), e))?;
    let provenance = Provenance::Inherited {
        number: descriptor.number,
        name: descriptor.name.clone(),
    };
    Ok(Bound {
        provenance,
        adopted: descriptor.adopted,
        address: shown(&address, family),
        // What sd_listen_fds_with_names(3) says of a socket without a name.
        name: (descriptor.name != "unknown" && !descriptor.name.is_empty())
            .then_some(descriptor.name),
        family,
        socket: descriptor.fd,
        more: Vec::new(),
        listening: true,
        file: None,
    })
}

/// What kind of listener it can be, or what is wrong with it.
fn kind(descriptor: &Descriptor) -> Result<Family, &'static str> {
    let fd = &descriptor.fd;
    let look = || -> rustix::io::Result<(AddressFamily, SocketType, bool)> {
        Ok((
            sockopt::socket_domain(fd)?,
            sockopt::socket_type(fd)?,
            sockopt::socket_acceptconn(fd)?,
        ))
    };
    let Ok((domain, kind, listens)) = look() else {
        return Err("is not a socket");
    };
    let is_ip = matches!(domain, AddressFamily::INET | AddressFamily::INET6);
    match (kind, listens) {
        (SocketType::STREAM, true) if is_ip => Ok(Family::Tcp),
        (SocketType::STREAM, true) if domain == AddressFamily::UNIX => Ok(Family::Unix),
        (SocketType::DGRAM, _) if is_ip => Ok(Family::Udp),
        (SocketType::STREAM, false) => Err("is a socket that does not listen"),
        _ => Err("is neither a listening stream socket nor a UDP socket"),
    }
}

fn shown(address: &SockAddr, family: Family) -> String {
    if let Some(ip) = address.as_socket() {
        return match family {
            Family::Udp => format!("udp:{ip}"),
            Family::Tcp | Family::Unix => ip.to_string(),
        };
    }
    if let Some(path) = address.as_pathname() {
        return format!("unix:{}", path.display());
    }
    let name = address.as_abstract_namespace().unwrap_or_default();
    format!("unix:@{}", String::from_utf8_lossy(name))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn inheritance(descriptors: Vec<(&str, OwnedFd)>) -> Inheritance {
        let number = |(number, (name, fd)): (usize, (&str, OwnedFd))| {
            let name = name.to_owned();
            Some(Descriptor {
                fd,
                number,
                name,
                adopted: None,
            })
        };
        Inheritance {
            sockets: (3..).zip(descriptors).map(number).collect(),
            wrong: None,
        }
    }

    fn give(inheritance: &mut Inheritance, text: &str) -> Result<Vec<String>, String> {
        let listen: Listen = text.parse().unwrap();
        let super::super::Address::Systemd(which) = &listen.address else {
            panic!("{text}");
        };
        let bound = inheritance.give(which, &listen);
        let name = |b: Bound| b.name.unwrap_or_else(|| "-".into());
        bound
            .map(|bound| bound.into_iter().map(name).collect())
            .map_err(|error| error.to_string())
    }

    fn tcp() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn sockets_are_chosen_by_name_and_by_place() {
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join("s")).unwrap();
        let mut all = inheritance(vec![
            ("web", tcp()),
            ("admin", unix.into()),
            ("web", tcp()),
            ("unknown", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ]);
        assert_eq!(
            give(&mut all, "systemd:web"),
            Ok(vec!["web".into(), "web".into()])
        );
        let error = give(&mut all, "systemd:web").unwrap_err();
        assert!(
            error.contains("systemd:web") && error.contains("there are admin, unknown"),
            "{error}"
        );
        assert_eq!(give(&mut all, "systemd#3"), Ok(vec!["-".into()]));
        assert!(give(&mut all, "systemd#3").is_err(), "it is taken");
        assert!(give(&mut all, "systemd#4").is_err());
        assert_eq!(give(&mut all, "systemd"), Ok(vec!["admin".into()]));
        let error = give(&mut all, "systemd").unwrap_err();
        assert!(error.contains("none is left"), "{error}");
    }

    #[test]
    fn everything_else_is_refused_by_what_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let unheard = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        unheard.bind(&any_port.into()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let packets = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let path = SockAddr::unix(dir.path().join("s")).unwrap();
        packets.bind(&path).unwrap();
        packets.listen(1).unwrap();
        let rows: Vec<(OwnedFd, &str)> = vec![
            (io::pipe().unwrap().0.into(), "is not a socket"),
            (tempfile::tempfile().unwrap().into(), "is not a socket"),
            (connection.into(), "does not listen"),
            (unheard.into(), "does not listen"),
            (packets.into(), "is neither"),
            (UnixDatagram::unbound().unwrap().into(), "is neither"),
        ];
        for (fd, words) in rows {
            let error = give(&mut inheritance(vec![("odd", fd)]), "systemd").unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(error.contains("inherited descriptor 3 (odd)"), "{error}");
        }
    }
}
