//! What is handed over, and how it is put on the socket and taken from it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use hatchery_protocol::id::Generation;
use hatchery_protocol::secret::Secret;
use hatchery_protocol::wire::MAX_FDS;
use nix::unistd::{getpid, getsid};
use thiserror::Error;

use super::channel::{self, ChannelError, Inbox};
use super::wire::{Deed, ToSuccessor, VERSION};
use crate::listener::{Handed, Listener};

/// How long a new master waits for what was written before it existed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the old master has.
#[derive(Debug)]
pub(crate) struct Inheritable<'a> {
    pub(crate) name: &'a str,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) generation: Generation,
    pub(crate) configured_workers: u32,
    pub(crate) wanted_workers: u32,
    pub(crate) background: bool,
    pub(crate) ticket_secret: &'a Secret,
    pub(crate) lock: BorrowedFd<'a>,
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) listeners: &'a [Listener],
    /// Pidfds of the agent's processes.
    pub(crate) agents: Vec<BorrowedFd<'a>>,
}

impl Inheritable<'_> {
    /// Puts all of it on the socket. To be called before there is anybody who could read.
    pub(super) fn bequeath(self, socket: &OwnedFd) -> io::Result<()> {
        channel::send(socket, &ToSuccessor::Hello { version: VERSION }, &[])?;
        let deed = Deed {
            name: self.name.to_owned(),
            runtime_dir: self.runtime_dir,
            generation: self.generation,
            configured_workers: self.configured_workers,
            wanted_workers: self.wanted_workers,
            background: self.background,
            // The session's leader may be outside of this pid namespace, and has no number then (0).
            leads_session: getsid(None) == Ok(getpid()),
            ticket_secret: self.ticket_secret.clone(),
        };
        let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
        let fds = [stdout, stderr, self.lock, self.control];
        channel::send(socket, &ToSuccessor::Estate(Box::new(deed)), &fds)?;
        for (listener, it) in (0..).zip(self.listeners) {
            let fds: Vec<_> = it.sockets.iter().map(|socket| socket.as_fd()).collect();
            for fds in fds.chunks(usize::from(MAX_FDS)) {
                let provenance = it.provenance().clone();
                let sockets = ToSuccessor::Sockets {
                    listener,
                    provenance,
                };
                channel::send(socket, &sockets, fds)?;
            }
        }
        for agent in self.agents {
            channel::send(socket, &ToSuccessor::Child, &[agent])?;
        }
        channel::send(socket, &ToSuccessor::Complete, &[])
    }
}

/// What the new master got.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) name: String,
    pub(crate) runtime_dir: PathBuf,
    /// The old master's.
    pub(crate) generation: Generation,
    /// How many its configuration says, and how many it had.
    configured_workers: u32,
    wanted_workers: u32,
    pub(crate) background: bool,
    pub(crate) leads_session: bool,
    pub(crate) ticket_secret: Secret,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) lock: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) handed: Vec<Handed>,
    /// Pidfds of processes that may run what must run once.
    pub(crate) agents: Vec<OwnedFd>,
}

/// Why there is nothing to inherit.
#[derive(Debug, Error)]
pub(super) enum EstateError {
    #[error(
        "this executable speaks version {VERSION} of the handover, the running master speaks {0}; an upgrade is \
         not possible between them: stop the application and start it again"
    )]
    Version(u32),
    #[error("the running master hands something over that makes no sense: {0}")]
    Disorder(&'static str),
    #[error("nothing can be taken over from the running master: {0}")]
    Channel(#[from] ChannelError),
}

impl Estate {
    /// The generation of those who follow.
    pub(crate) const fn next_generation(&self) -> Generation {
        self.generation + 1
    }

    /// How many workers there are to be where the configuration says `configured`: what an operator has scaled stays,
    /// unless that is something new.
    pub(crate) const fn workers(&self, configured: u32) -> u32 {
        if configured == self.configured_workers {
            self.wanted_workers
        } else {
            configured
        }
    }

    /// Takes it off the socket.
    pub(super) fn receive(socket: &OwnedFd, inbox: &mut Inbox) -> Result<Self, EstateError> {
        let mut next = || inbox.wait::<ToSuccessor>(socket, PATIENCE);
        match next()?.0 {
            ToSuccessor::Hello { version: VERSION } => {}
            ToSuccessor::Hello { version } => return Err(EstateError::Version(version)),
            ToSuccessor::Estate(_)
            | ToSuccessor::Sockets { .. }
            | ToSuccessor::Complete
            | ToSuccessor::Child
            | ToSuccessor::Schedule(_)
            | ToSuccessor::RunEnded(_)
            | ToSuccessor::Commit
            | ToSuccessor::RollBack => {
                return Err(EstateError::Disorder("it does not begin with its version"));
            }
        }
        let (ToSuccessor::Estate(deed), fds) = next()? else {
            return Err(EstateError::Disorder("another message comes first"));
        };
        let Ok([stdout, stderr, lock, control]) = <[OwnedFd; 4]>::try_from(fds) else {
            return Err(EstateError::Disorder("descriptors are missing"));
        };
        let mut estate = Self {
            name: deed.name,
            runtime_dir: deed.runtime_dir,
            generation: deed.generation,
            configured_workers: deed.configured_workers,
            wanted_workers: deed.wanted_workers,
            background: deed.background,
            leads_session: deed.leads_session,
            ticket_secret: deed.ticket_secret,
            stdout,
            stderr,
            lock,
            control,
            handed: Vec::new(),
            agents: Vec::new(),
        };
        loop {
            let (message, fds) = next()?;
            match message {
                ToSuccessor::Sockets {
                    listener,
                    provenance,
                } => estate.add(Handed {
                    listener,
                    provenance,
                    sockets: fds,
                }),
                ToSuccessor::Child => estate.agents.extend(fds),
                ToSuccessor::Complete => return Ok(estate),
                ToSuccessor::Hello { .. }
                | ToSuccessor::Estate(_)
                | ToSuccessor::Schedule(_)
                | ToSuccessor::RunEnded(_)
                | ToSuccessor::Commit
                | ToSuccessor::RollBack => {
                    return Err(EstateError::Disorder("its end is missing"));
                }
            }
        }
    }

    /// Sockets of one listener may come in several messages.
    fn add(&mut self, more: Handed) {
        match self.handed.last_mut() {
            Some(last) if last.listener == more.listener => last.sockets.extend(more.sockets),
            _ => self.handed.push(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::listener::{Inheritance, Provenance, Shares, bind_all};
    use crate::strategy::Strategy;

    /// A listener with more sockets than one message can carry, and one with a single socket.
    fn listeners() -> Vec<Listener> {
        let listens = [
            "127.0.0.1:0?strategy=reuse-port".parse().unwrap(),
            "udp:127.0.0.1:0".parse().unwrap(),
        ];
        let shares = Shares {
            strategy: Strategy::ROUND_ROBIN,
            workers: 140,
        };
        bind_all(&listens, shares, Inheritance::default(), Vec::new()).unwrap()
    }

    #[test]
    fn everything_is_there_before_anybody_reads() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
        channel::prepare(&ours).unwrap();
        let (lock, control) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let secret = Secret::random().unwrap();
        let listeners = listeners();
        let inheritable = Inheritable {
            name: "app",
            runtime_dir: "/run/app".into(),
            generation: 4,
            configured_workers: 140,
            wanted_workers: 150,
            background: false,
            ticket_secret: &secret,
            lock: lock.as_fd(),
            control: control.as_fd(),
            listeners: &listeners,
            agents: vec![lock.as_fd()],
        };
        inheritable.bequeath(&ours).unwrap();
        // As if the old master died right now.
        drop(ours);
        let estate = Estate::receive(&theirs, &mut Inbox::new()).unwrap();
        assert_eq!((estate.name.as_str(), estate.generation), ("app", 4));
        assert_eq!((estate.workers(140), estate.workers(3)), (150, 3));
        assert_eq!(estate.ticket_secret, secret);
        assert_eq!(estate.agents.len(), 1);
        let counts: Vec<_> = estate.handed.iter().map(|h| h.sockets.len()).collect();
        assert_eq!(counts, [140, 1]);
        let Provenance::Bound { asked, .. } = &estate.handed[0].provenance else {
            panic!("{estate:?}");
        };
        assert_eq!(asked, "127.0.0.1:0");
        let lock = rustix::fs::fstat(&lock).unwrap().st_ino;
        assert_eq!(rustix::fs::fstat(&estate.lock).unwrap().st_ino, lock);
    }

    #[test]
    fn another_version_has_its_sentence() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        channel::send(&ours, &ToSuccessor::Hello { version: 9 }, &[]).unwrap();
        let error = Estate::receive(&theirs.into(), &mut Inbox::new()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(&format!("version {VERSION}")) && error.contains("speaks 9"),
            "{error}"
        );
    }
}
