//! Agent and worker as threads of the master's process: `--single`.

use std::fmt;
use std::os::fd::OwnedFd;

use hatchery_agent::{Agent, NoAgent};
use hatchery_master::Part;
use hatchery_protocol::child::Child;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::Role;
use hatchery_worker::Worker;

use crate::app::App;

/// The application's own code, until a thread takes it.
pub(crate) struct Parts {
    agent: Option<Box<dyn Agent>>,
    worker: Option<Box<dyn Worker>>,
    version: Option<String>,
}

impl Parts {
    /// Takes them out of the application.
    pub(crate) fn of(app: &mut App) -> Self {
        Self {
            agent: Some(std::mem::replace(&mut app.agent, Box::new(NoAgent))),
            worker: app.worker.take(),
            version: app.version.clone(),
        }
    }

    /// Each once.
    pub(crate) fn take(&mut self, role: Role) -> Option<Part> {
        match role {
            Role::Agent => {
                let (agent, version) = (self.agent.take()?, self.version.take());
                Some(Box::new(move |link| {
                    live(role, link, |child| {
                        hatchery_agent::run(child, agent, version)
                    })
                }))
            }
            Role::Worker => {
                let worker = self.worker.take()?;
                Some(Box::new(move |link| {
                    live(role, link, |child| hatchery_worker::run(child, worker))
                }))
            }
            Role::Master => None,
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

fn live(role: Role, link: OwnedFd, run: impl FnOnce(Child) -> Exit) -> Exit {
    match Child::within(role, link) {
        Ok(child) => run(child),
        Err(error) => {
            tracing::error!("cannot be {role}: {error}");
            error.exit()
        }
    }
}
