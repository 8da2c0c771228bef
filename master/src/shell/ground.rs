//! What a master stands on: its lock and its sockets, made here or handed over by another master.

use std::io;
use std::os::unix::net::UnixListener;

use hatchery_protocol::id::Generation;
use hatchery_protocol::secret::Secret;

use super::run::StartError;
use super::started_by::FIRST_GENERATION;
use crate::config::Config;
use crate::listener::{Handed, Inheritance, Listener, Shares, SocketFile, bind_all};
use crate::roll::{Remnant, Roll, wake};
use crate::runtime_dir::RuntimeDir;
use crate::succession::{Correspondence, Estate};

/// Where the lock and the sockets come from.
pub(super) enum Origin {
    /// They are made, or come from a service manager.
    Anew(Inheritance),
    /// Another master hands them over.
    Handover(Box<(Estate, Correspondence)>),
}

/// What the rest of a start needs, wherever it comes from.
pub(super) struct Ground {
    pub(super) runtime_dir: RuntimeDir,
    pub(super) roll: Roll,
    /// Processes of masters before this one.
    pub(super) remnants: Vec<Remnant>,
    pub(super) listeners: Vec<Listener>,
    pub(super) control: (UnixListener, SocketFile),
    pub(super) ticket_secret: Secret,
    /// Names this master's cluster among others. Never handed over: an old and a new master's are two.
    pub(super) host: u64,
    pub(super) generation: Generation,
    /// How many there are to be.
    pub(super) workers: u32,
    pub(super) background: bool,
}

impl Ground {
    pub(super) fn anew(config: &Config, inheritance: Inheritance) -> Result<Self, StartError> {
        let runtime_dir = RuntimeDir::acquire(&config.runtime_dir)?;
        // Before anything is bound: they may have the sockets.
        let (roll, remnants) = Roll::begin(runtime_dir.path(), config.orphan_grace);
        wake(&remnants);
        let shares = shares(config, config.workers);
        let listeners = bind_all(&config.listen, shares, inheritance, Vec::new())?;
        Ok(Self {
            control: runtime_dir.bind_control()?,
            runtime_dir,
            roll,
            remnants,
            listeners,
            ticket_secret: Secret::random()?,
            host: random()?,
            generation: FIRST_GENERATION,
            workers: config.workers,
            background: false,
        })
    }

    pub(super) fn handed_over(config: &Config, estate: Estate) -> Result<Self, StartError> {
        if (&estate.name, &estate.runtime_dir) != (&config.name, &config.runtime_dir) {
            return Err(StartError::Moved {
                name: estate.name,
                runtime_dir: estate.runtime_dir,
                new_name: config.name.clone(),
                new_runtime_dir: config.runtime_dir.clone(),
            });
        }
        if config.single {
            return Err(StartError::Single);
        }
        let generation = estate.next_generation();
        let workers = estate.workers(config.workers);
        let runtime_dir = RuntimeDir::adopt(&config.runtime_dir, estate.lock)?;
        let mut handed: Vec<Handed> = estate.handed;
        let inheritance = Inheritance::of_another(&mut handed);
        let shares = shares(config, workers);
        let listeners = bind_all(&config.listen, shares, inheritance, handed)?;
        Ok(Self {
            control: runtime_dir.adopt_control(estate.control)?,
            roll: Roll::join(runtime_dir.path(), config.orphan_grace),
            remnants: Vec::new(),
            runtime_dir,
            listeners,
            ticket_secret: estate.ticket_secret,
            host: random()?,
            generation,
            workers,
            background: estate.background,
        })
    }
}

fn random() -> io::Result<u64> {
    let bytes = *Secret::random()?.bytes();
    Ok(bytes.first_chunk().copied().map_or(0, u64::from_ne_bytes))
}

const fn shares(config: &Config, workers: u32) -> Shares {
    Shares {
        strategy: config.strategy,
        workers,
    }
}
