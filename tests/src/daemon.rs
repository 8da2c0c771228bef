//! A cluster in the background, which was started by a command.

use crate::cluster::read;
use crate::command::{Ran, run};
use crate::event::{Event, EventLog, Step, names};
use crate::plan::Plan;
use crate::survivors::Survivors;
use crate::wait::{self, PATIENCE};

/// A command that returned and left a cluster in the background. What is left of that is killed when this
/// goes out of scope.
#[derive(Debug)]
pub struct Daemon {
    plan: Plan,
    /// What the command said.
    pub ran: Ran,
    survivors: Survivors,
}

impl Daemon {
    pub(crate) const fn new(plan: Plan, ran: Ran, survivors: Survivors) -> Self {
        Self {
            plan,
            ran,
            survivors,
        }
    }

    /// What was planned.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who is left.
    pub const fn survivors(&self) -> &Survivors {
        &self.survivors
    }

    /// Runs a command of the playground's on this cluster.
    #[track_caller]
    pub fn verb(&self, args: &[&str]) -> Ran {
        run(self.plan.verb(args))
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        EventLog::new(&self.plan.events_file()).refresh().to_vec()
    }

    /// Waits for an event; one that came already will do.
    #[track_caller]
    pub fn wait(&self, wanted: impl Into<Step>) -> Event {
        let wanted = wanted.into();
        wait::until(PATIENCE, || {
            self.events().into_iter().find(|event| wanted.fits(event))
        })
        .unwrap_or_else(|| panic!("no {wanted} among {}", names(&self.events())))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {:?}", self.ran);
            eprintln!("--- survivors: {:?}", self.survivors.list());
            eprintln!("--- events:\n{}", read(&self.plan.events_file()));
        }
        self.survivors.kill_all();
    }
}
