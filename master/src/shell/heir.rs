//! Following an old master: the new one's deeds.
//!
//! To the supervisor this is a first start like any other. Only that the addresses are made to listen when the
//! old master says so, and that it is the old master who hears how the start went.

use std::time::Duration;

use hatchery_protocol::exit::Exit;

use super::Shell;
use crate::config::Config;
use crate::listener::Listener;
use crate::pid_file::PidFile;
use crate::succession::{Decision, Will};
use crate::supervisor::Event;

/// What a master is that is about to take over, until it has.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) will: Will,
    /// Whether the old master has nothing against it.
    committed: bool,
    /// Whether everybody is ready.
    ready: bool,
}

impl Heir {
    pub(super) const fn new(will: Will) -> Self {
        Self {
            will,
            committed: false,
            ready: false,
        }
    }
}

/// How long a start may take at the most.
pub(super) fn start_takes(config: &Config) -> Duration {
    config
        .agent_start_timeout
        .saturating_add(config.worker_start_timeout)
}

impl Shell {
    /// Makes every address listen, as soon as that is for this master to do. The answer may come later.
    pub(super) fn listen_in_turn(&mut self) -> Option<Event> {
        if let Some(heir) = &mut self.heir
            && !heir.committed
        {
            heir.ready = true;
            let adopted = self.listeners.iter().filter_map(Listener::adopted);
            heir.will.ready(adopted.collect());
            return None;
        }
        Some(self.listen())
    }

    /// The old master has decided, or has died.
    pub(super) fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::Commit => {}
            Decision::Alone => {
                if self.heir.is_some() {
                    tracing::warn!("the old master is dead; going on without it");
                }
            }
            Decision::RollBack => {
                // Whoever has clients already lets them finish.
                let at_once = self.heir.is_some();
                return self.stop("the old master goes on itself", at_once);
            }
        }
        if let Some(heir) = &mut self.heir
            && !heir.committed
        {
            heir.committed = true;
            if heir.ready {
                let event = self.listen();
                self.happen(event);
            }
        }
    }

    /// Everything is this master's from here on.
    pub(super) fn inherit(&mut self, heir: &Heir) {
        for listener in &mut self.listeners {
            listener.own_file();
        }
        self.runtime_dir.sign();
        // Before anybody is told to look for it there.
        if let Some(path) = &self.adopted.config.pid_file {
            match PidFile::write(path) {
                Ok(file) => self.pid_file = Some(file),
                Err(error) => {
                    tracing::error!("the pid file {} cannot be written: {error}", path.display());
                }
            }
        }
        self.control.open();
        // Readiness follows with the event; from a process that is not known it would not count.
        self.notifier.main_pid(std::process::id());
        heir.will.serving();
    }

    /// It gives up, and the old master has to know why.
    pub(super) fn disclaim(heir: &Heir, exit: Exit, message: &str) {
        heir.will.fail(exit, message);
    }
}
