//! What of its listeners a worker's application uses itself: UDP sockets, and listeners whose connections
//! it takes. Everything else serves HTTP.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hatchery_protocol::boot::{Family, ListenerBoot};
use tokio::net::UdpSocket;

use crate::incoming::{Claim, Incoming, claim};

/// What the application has taken, by the listener's index.
pub(crate) type Claims = BTreeMap<usize, Claim>;

/// What an application may ask for.
#[derive(Debug)]
pub(crate) struct Listeners {
    udp: Vec<(Title, Arc<UdpSocket>)>,
    /// `None` from when the worker begins to accept, or to leave.
    offers: Mutex<Option<Vec<Offer>>>,
}

/// What a listener is called by.
#[derive(Debug)]
struct Title {
    name: Option<String>,
    address: String,
}

impl Title {
    fn of(boot: &ListenerBoot) -> Self {
        Self {
            name: boot.name.clone(),
            address: boot.address.clone(),
        }
    }

    fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.address == name
    }
}

/// A listener that takes connections.
#[derive(Debug)]
struct Offer {
    index: usize,
    title: Title,
    /// There if the application has taken it.
    claim: Option<Claim>,
}

impl Listeners {
    /// Takes the UDP sockets among those that came with the boot into use. To be called on the runtime. The
    /// others are left, to be opened when the time has come.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch a socket: out of memory, or of watches.
    pub(crate) fn open(
        boots: &[ListenerBoot],
        sockets: &mut [Option<OwnedFd>],
    ) -> io::Result<Self> {
        let mut udp = Vec::new();
        let mut offers = Vec::new();
        for (index, (boot, socket)) in boots.iter().zip(sockets).enumerate() {
            let title = Title::of(boot);
            match boot.family {
                Family::Udp => {
                    if let Some(socket) = socket.take() {
                        let socket = std::net::UdpSocket::from(socket);
                        socket.set_nonblocking(true)?;
                        udp.push((title, Arc::new(UdpSocket::from_std(socket)?)));
                    }
                }
                Family::Tcp | Family::Unix => offers.push(Offer {
                    index,
                    title,
                    claim: None,
                }),
            }
        }
        let offers = Mutex::new(Some(offers));
        Ok(Self { udp, offers })
    }

    pub(crate) fn udp(&self, name: &str) -> Vec<Arc<UdpSocket>> {
        let named = self.udp.iter().filter(|(title, _)| title.is(name));
        named.map(|(_, socket)| Arc::clone(socket)).collect()
    }

    /// Takes what has this name and is not taken.
    pub(crate) fn take(&self, name: &str) -> Option<Incoming> {
        let mut offers = self.lock();
        let (claim, incoming) = claim();
        let mut found = false;
        for offer in offers.iter_mut().flatten() {
            if offer.title.is(name) && offer.claim.is_none() {
                offer.claim = Some(claim.clone());
                found = true;
            }
        }
        found.then_some(incoming)
    }

    /// What was taken so far.
    pub(crate) fn claimed(&self) -> Vec<usize> {
        let offers = self.lock();
        let claimed = |offer: &Offer| offer.claim.is_some().then_some(offer.index);
        offers.iter().flatten().filter_map(claimed).collect()
    }

    /// The claims there are. There will be no more.
    pub(crate) fn close(&self) -> Claims {
        let offers = self.lock().take().unwrap_or_default();
        let claimed = |offer: Offer| Some((offer.index, offer.claim?));
        offers.into_iter().filter_map(claimed).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Offer>>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::boot::Source;

    use super::*;

    fn given(name: Option<&str>, address: &str) -> (ListenerBoot, Option<OwnedFd>) {
        let (family, socket): (_, OwnedFd) = if address.starts_with("udp:") {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            (Family::Udp, socket.into())
        } else {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            (Family::Tcp, socket.into())
        };
        let boot = ListenerBoot {
            address: address.to_owned(),
            name: name.map(str::to_owned),
            family,
            source: Source::Accept,
            proxy_protocol: false,
            tls: None,
        };
        (boot, Some(socket))
    }

    #[tokio::test]
    async fn listeners_are_found_by_name_and_by_address_and_taken_once() {
        let (boots, mut sockets): (Vec<_>, Vec<_>) = [
            given(Some("web"), "127.0.0.1:80"),
            given(Some("dns"), "udp:127.0.0.1:53"),
            given(Some("lines"), "127.0.0.1:7"),
            given(Some("lines"), "[::1]:7"),
            given(None, "udp:[::1]:53"),
        ]
        .into_iter()
        .unzip();
        let listeners = Listeners::open(&boots, &mut sockets).unwrap();
        let left: Vec<bool> = sockets.iter().map(Option::is_some).collect();
        assert_eq!(left, [true, false, true, true, false]);
        assert_eq!(listeners.udp("dns").len(), 1);
        assert_eq!(listeners.udp("udp:[::1]:53").len(), 1);
        assert_eq!(listeners.udp("web").len(), 0);

        assert!(listeners.take("dns").is_none(), "it has no connections");
        assert!(listeners.take("nothing").is_none());
        let lines = listeners.take("lines");
        assert!(lines.is_some());
        assert!(listeners.take("lines").is_none(), "it is taken");
        assert!(
            listeners.take("127.0.0.1:7").is_none(),
            "by another name, too"
        );
        assert_eq!(listeners.claimed(), [2, 3]);
        let claimed: Vec<usize> = listeners.close().into_keys().collect();
        assert_eq!(claimed, [2, 3]);
        assert!(listeners.take("web").is_none(), "it serves HTTP by now");
        assert_eq!(listeners.udp("dns").len(), 1);
    }

    #[tokio::test]
    async fn who_leaves_before_it_accepts_ends_the_wait() {
        let (boot, socket) = given(Some("a"), "127.0.0.1:7");
        let listeners = Listeners::open(&[boot], &mut [socket]).unwrap();
        let mut incoming = listeners.take("a").unwrap();
        drop(listeners.close());
        assert!(incoming.next().await.is_none());
    }
}
