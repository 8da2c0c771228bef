//! The sockets of one address, from when they are bound to the master's end.
//!
//! One socket, or one for each slot. None is given up while the master lives: whoever waits in its queue would be
//! reset.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use hatchery_protocol::boot::{Family, ListenerBoot, Source, TlsFiles};
use hatchery_protocol::id::Slot;

use super::error::BindError;
use super::handed::Provenance;
use super::unix::SocketFile;
use super::{Listen, TcpOptions, per_slot};
use crate::strategy::{Strategy, Way};
use crate::sys;

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
