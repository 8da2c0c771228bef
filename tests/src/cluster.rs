//! A running cluster, seen from outside.

mod clients;
mod end;
mod events;
mod operator;

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::process::{Child, ExitStatus};

use crate::event::{EventLog, Step, step};
use crate::plan::Plan;
use crate::process;
use crate::survivors::Survivors;
use crate::trace::{self, Hook, News};
use crate::wait::{self, PATIENCE};

/// A master and everything it started. Stopped and checked when it goes out of scope.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    child: RefCell<Child>,
    master: Cell<Option<u32>>,
    survivors: Survivors,
    events: RefCell<EventLog>,
    exit: Cell<Option<ExitStatus>>,
    /// A master that took over from the one that was started here.
    successor: Cell<Option<u32>>,
    /// Whether the test knows that the master is gone.
    exit_is_expected: Cell<bool>,
    /// Whether it was not its business to clear anything away: it was killed, or never owned it.
    killed: Cell<bool>,
}

impl Cluster {
    pub(crate) fn new(plan: Plan, child: Child, survivors: Survivors) -> Self {
        Self {
            master: Cell::new((!plan.is_nested()).then(|| child.id())),
            events: RefCell::new(EventLog::new(&plan.events_file())),
            child: RefCell::new(child),
            plan,
            survivors,
            exit: Cell::new(None),
            successor: Cell::new(None),
            exit_is_expected: Cell::new(false),
            killed: Cell::new(false),
        }
    }

    /// The master's process, as seen from here.
    #[track_caller]
    pub fn master(&self) -> u32 {
        if let Some(master) = self.master.get() {
            return master;
        }
        let launcher = self.child.borrow().id();
        let master = wait::until(PATIENCE, || {
            process::children(launcher)
                .into_iter()
                .find(|p| p.name == "playground")
        })
        .expect("the master starts");
        self.master.set(Some(master.pid));
        master.pid
    }

    /// What was planned.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who holds the pipe.
    pub const fn survivors(&self) -> &Survivors {
        &self.survivors
    }

    /// The agent's process as of the last event about one.
    #[track_caller]
    pub fn agent(&self) -> u32 {
        self.last_spawned(&step("agent-spawned"))
    }

    /// The process in a worker's slot as of the last event about one.
    #[track_caller]
    pub fn worker(&self, slot: u32) -> u32 {
        self.last_spawned(&step("worker-spawned").slot(slot))
    }

    #[track_caller]
    fn last_spawned(&self, spawned: &Step) -> u32 {
        let events = self.events();
        let event = events.iter().rfind(|event| spawned.fits(event));
        event
            .and_then(|event| event.pid)
            .unwrap_or_else(|| panic!("no {spawned}"))
    }

    /// Every process as of the last event about it: the agent first, then by slot.
    pub fn everybody(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self
            .events()
            .iter()
            .filter(|event| event.event == "worker-spawned")
            .filter_map(|event| event.slot)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        std::iter::once(self.agent())
            .chain(slots.into_iter().map(|slot| self.worker(slot)))
            .collect()
    }

    /// From an id inside the cluster's pid namespace to the id here.
    #[track_caller]
    pub fn outer_pid(&self, inner: u32) -> u32 {
        self.survivors
            .list()
            .into_iter()
            .map(|process| process.pid)
            .find(|pid| process::inner_pid(*pid) == Some(inner))
            .unwrap_or_else(|| panic!("nobody is {inner} inside"))
    }

    // What the processes wrote.

    /// Standard error of everybody so far.
    pub fn stderr(&self) -> String {
        read(&self.plan.path("stderr"))
    }

    /// Standard output of everybody so far.
    pub fn stdout(&self) -> String {
        read(&self.plan.path("stdout"))
    }

    /// The hooks that ran so far.
    pub fn trace(&self) -> Vec<Hook> {
        trace::read(&self.plan.trace_file())
    }

    /// What the children were told of each other so far.
    pub fn news(&self) -> Vec<News> {
        trace::read(&self.plan.members_file())
    }

    /// Waits until so many hooks of this name have run.
    #[track_caller]
    pub fn wait_hooks(&self, hook: &str, count: usize) -> Vec<Hook> {
        wait::until(PATIENCE, || {
            let mut hooks = self.trace();
            hooks.retain(|line| line.hook == hook);
            (hooks.len() >= count).then_some(hooks)
        })
        .unwrap_or_else(|| panic!("not {count} times {hook}: {:?}", self.trace()))
    }
}

/// As text; empty if it is not there.
pub(crate) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
