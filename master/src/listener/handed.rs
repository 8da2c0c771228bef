//! Sockets that another master of this application opened and passes on.
//!
//! They are the same sockets, not others at the same address: what waits in their queues is served, and at no
//! moment is the address anybody else's. Which of them an address means is told by what was asked for when
//! they were opened, so that `127.0.0.1:0` keeps the port it was given. What is said about an address may
//! have changed since; it holds from the moment on in which the new master begins to serve.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use hatchery_protocol::boot::Family;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::bind::Bound;
use super::error::BindError;
use super::unix::SocketFile;
use super::{Address, Listen};

/// How a listener came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Provenance {
    /// A master bound it.
    Bound {
        /// What the operator wrote.
        asked: String,
        /// What came of it, with the real port.
        address: String,
        /// Which kind of socket it is.
        family: Family,
        /// The number of a unix socket's file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<(u64, u64)>,
    },
    /// A service manager opened it.
    Inherited {
        /// Its place among all that the service manager opened.
        number: usize,
        /// What the service manager calls it.
        name: String,
    },
}

/// The sockets of one listener of another master's.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Its place in that master's list.
    pub(crate) listener: u16,
    pub(crate) provenance: Provenance,
    /// One, or one for each slot.
    pub(crate) sockets: Vec<OwnedFd>,
}

impl Handed {
    /// Takes out of `all` the one that an address means, if there is one.
    pub(super) fn take(all: &mut Vec<Self>, listen: &Listen) -> Option<Self> {
        let wanted = listen.address.to_string();
        let means = |handed: &Self, by_real: bool| match &handed.provenance {
            Provenance::Bound { asked, address, .. } => {
                handed.is_in_place(&listen.address)
                    && (*asked == wanted || (by_real && *address == wanted))
            }
            Provenance::Inherited { .. } => false,
        };
        let literal = all.iter().position(|handed| means(handed, false));
        let place = literal.or_else(|| all.iter().position(|handed| means(handed, true)))?;
        Some(all.remove(place))
    }

    /// Whether a client finds it there. The file of a unix socket may have been removed, or replaced.
    fn is_in_place(&self, address: &Address) -> bool {
        match (&self.provenance, address) {
            (
                Provenance::Bound {
                    file: Some(file), ..
                },
                Address::Unix(path),
            ) => SocketFile::has_number(path, *file),
            _ => true,
        }
    }

    pub(super) fn into_bound(self, listen: &Listen) -> Result<Bound, BindError> {
        let Provenance::Bound {
            address,
            family,
            file,
            ..
        } = self.provenance.clone()
        else {
            let gone = io::ErrorKind::NotFound.into();
            return Err(BindError::system(&listen.address.to_string(), gone));
        };
        let file = match (&listen.address, file) {
            (Address::Unix(path), Some(_)) => Some(adopt_file(path, &address)?),
            _ => None,
        };
        let mut sockets = self.sockets.into_iter();
        let Some(socket) = sockets.next() else {
            let gone = io::ErrorKind::NotFound.into();
            return Err(BindError::system(&address, gone));
        };
        check_v6only(&socket, listen)?;
        Ok(Bound {
            address,
            name: None,
            family,
            socket,
            more: sockets.collect(),
            listening: family == Family::Udp,
            file,
            provenance: self.provenance,
            adopted: Some(self.listener),
        })
    }
}

fn adopt_file(path: &Path, address: &str) -> Result<SocketFile, BindError> {
    SocketFile::of_another(path).map_err(|e| BindError::system(address, e))
}

/// The one thing about a bound socket that cannot be changed any more.
fn check_v6only(socket: &OwnedFd, listen: &Listen) -> Result<(), BindError> {
    let (Address::Tcp(address) | Address::Udp(address)) = &listen.address else {
        return Ok(());
    };
    let wanted = listen.v6only.unwrap_or(true);
    if address.is_ipv6() && SockRef::from(socket).only_v6().ok() != Some(wanted) {
        return Err(BindError::Fixed {
            address: listen.address.to_string(),
            option: "v6only",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::super::bind::{Shares, bind_all};
    use super::super::inherit::Inheritance;
    use super::super::sockets::Listener;
    use super::*;
    use crate::strategy::Strategy;

    const SHARES: Shares = Shares {
        strategy: Strategy::ROUND_ROBIN,
        workers: 2,
    };

    fn bind(texts: &[&str], handed: Vec<Handed>) -> Result<Vec<Listener>, BindError> {
        let listens: Vec<Listen> = texts.iter().map(|text| text.parse().unwrap()).collect();
        bind_all(&listens, SHARES, Inheritance::default(), handed)
    }

    /// What a master with these listeners passes on.
    fn hand_over(listeners: &[Listener]) -> Vec<Handed> {
        (0..)
            .zip(listeners)
            .map(|(listener, it)| Handed {
                listener,
                provenance: it.provenance().clone(),
                sockets: it
                    .sockets
                    .iter()
                    .map(|socket| socket.try_clone().unwrap())
                    .collect(),
            })
            .collect()
    }

    #[test]
    fn an_address_keeps_the_port_it_was_given_and_those_who_wait() {
        let old = bind(&["127.0.0.1:0", "127.0.0.1:0?name=b"], Vec::new()).unwrap();
        for listener in &old {
            listener.listen().unwrap();
        }
        let address: SocketAddr = old[1].address.parse().unwrap();
        let _waits = TcpStream::connect(address).unwrap();
        let new = bind(&["127.0.0.1:0", "127.0.0.1:0?name=b"], hand_over(&old)).unwrap();
        assert_eq!(new[0].address, old[0].address);
        assert_eq!(new[1].address, old[1].address);
        assert_eq!(new[1].adopted(), Some(1));
        drop(old);
        new[1].listen().unwrap();
        let served = TcpListener::from(new[1].sockets[0].try_clone().unwrap());
        served.set_nonblocking(true).unwrap();
        served.accept().unwrap();
    }

    #[test]
    fn an_address_may_be_written_with_the_port_that_it_was_given() {
        let old = bind(&["127.0.0.1:0"], Vec::new()).unwrap();
        old[0].listen().unwrap();
        let real = old[0].address.clone();
        // The letter counts more than the meaning; and then the port is taken.
        let both = bind(&["127.0.0.1:0", &real], hand_over(&old));
        assert!(both.unwrap_err().to_string().contains(&real));
        let new = bind(&[&real], hand_over(&old)).unwrap();
        assert_eq!(new[0].adopted(), Some(0));
    }

    #[test]
    fn the_file_of_a_unix_socket_stays_until_it_is_owned() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let text = format!("unix:{}", path.display());
        let mut old = bind(&[&text], Vec::new()).unwrap();
        old[0].listen().unwrap();
        drop(bind(&[&text], hand_over(&old)).unwrap());
        assert!(path.exists(), "a successor that fails removes nothing");
        let mut new = bind(&[&format!("{text}?mode=0600")], hand_over(&old)).unwrap();
        new[0].listen().unwrap();
        new[0].own_file();
        old[0].disown_file();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_unix_socket_whose_file_is_gone_is_bound_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let text = format!("unix:{}", path.display());
        let old = bind(&[&text], Vec::new()).unwrap();
        old[0].listen().unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = bind(&[&text], hand_over(&old)).unwrap();
        assert_eq!(new[0].adopted(), None);
        new[0].listen().unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(old);
        assert!(path.exists(), "it is another file");
    }

    #[test]
    fn a_group_grows_and_never_shrinks() {
        let old = bind(&["127.0.0.1:0?strategy=reuse-port"], Vec::new()).unwrap();
        old[0].listen().unwrap();
        let four = Shares {
            workers: 4,
            ..SHARES
        };
        let one = Shares {
            workers: 1,
            ..SHARES
        };
        for (shares, sockets) in [(four, 4), (one, 2)] {
            let listen = "127.0.0.1:0?strategy=reuse-port".parse().unwrap();
            let new = bind_all(&[listen], shares, Inheritance::default(), hand_over(&old));
            let new = new.unwrap();
            assert_eq!(new[0].sockets.len(), sockets);
            new[0].listen().unwrap();
        }
    }

    #[test]
    fn what_cannot_change_is_named() {
        let Ok(old) = bind(&["[::1]:0"], Vec::new()) else {
            return;
        };
        let error = bind(&["[::1]:0?v6only=false"], hand_over(&old)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("v6only") && error.contains("restart"),
            "{error}"
        );
    }
}
