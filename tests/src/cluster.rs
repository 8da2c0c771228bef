//! A running cluster, seen from outside.

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::command::{Ran, run};
use crate::control::Control;
use crate::ended::Ended;
use crate::event::{Event, EventLog, Step, names, step};
use crate::http::{self, Connection, Whoami};
use crate::plan::Plan;
use crate::process;
use crate::survivors::Survivors;
use crate::trace::{self, Hook, News};
use crate::wait::{self, LATE, PATIENCE};

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

    // Events.

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow_mut().refresh().to_vec()
    }

    /// How many events there were so far: a place to wait from.
    pub fn mark(&self) -> usize {
        self.events.borrow_mut().refresh().len()
    }

    /// Waits for an event; one that came already will do.
    #[track_caller]
    pub fn wait(&self, wanted: impl Into<Step>) -> Event {
        self.wait_nth(wanted, 1)
    }

    /// Waits for the n-th such event, counted from 1.
    #[track_caller]
    pub fn wait_nth(&self, wanted: impl Into<Step>, nth: usize) -> Event {
        let wanted = wanted.into();
        self.wait_among(&format!("{wanted} (number {nth})"), |events| {
            events
                .iter()
                .filter(|event| wanted.fits(event))
                .nth(nth - 1)
                .cloned()
        })
    }

    /// Waits for an event after a [`mark`](Self::mark).
    #[track_caller]
    pub fn wait_since(&self, mark: usize, wanted: impl Into<Step>) -> Event {
        let wanted = wanted.into();
        self.wait_among(&wanted.to_string(), |events| {
            events
                .iter()
                .skip(mark)
                .find(|event| wanted.fits(event))
                .cloned()
        })
    }

    /// Waits for the first event that satisfies `condition`.
    #[track_caller]
    pub fn wait_where(&self, what: &str, condition: impl Fn(&Event) -> bool) -> Event {
        self.wait_among(what, |events| {
            events.iter().find(|event| condition(event)).cloned()
        })
    }

    #[track_caller]
    fn wait_among<T>(&self, what: &str, mut look: impl FnMut(&[Event]) -> Option<T>) -> T {
        let mut over = false;
        let found = wait::until(PATIENCE, || {
            // First whether the master is gone, then a look: it may have written before it went.
            let gone = self.exit_status().is_some();
            match look(self.events.borrow_mut().refresh()) {
                Some(found) => Some(Some(found)),
                None if gone => {
                    over = true;
                    Some(None)
                }
                None => None,
            }
        });
        found.flatten().unwrap_or_else(|| {
            let why = if over {
                "the master is gone"
            } else {
                "time is over"
            };
            panic!(
                "{why}, and there was no {what} among {}",
                names(&self.events())
            )
        })
    }

    /// Waits for something that no event tells.
    #[track_caller]
    pub fn expect(&self, what: &str, condition: impl FnMut() -> bool) {
        wait::expect(what, condition);
    }

    // Who is who.

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

    // HTTP.

    /// The address it listens on, the first if there are several; known from egg-ready on.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let ready = self.wait("egg-ready");
        ready
            .why()
            .split([' ', ','])
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no address in {ready:?}"))
    }

    /// A connection to some worker.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        http::connect(self.address()).unwrap()
    }

    /// A connection to the worker in this slot, and what it says about itself. Who gets a connection is
    /// the kernel's choice, so there may have to be several.
    #[track_caller]
    pub fn connect_to(&self, slot: u32) -> (Connection, Whoami) {
        wait::until(PATIENCE, || {
            let mut connection = self.connect();
            let who = connection.whoami().unwrap();
            (who.slot == slot).then_some((connection, who))
        })
        .unwrap_or_else(|| panic!("no connection ever went to slot {slot}"))
    }

    /// Lets the worker in this slot spin on the CPU for ever, and returns when it does so. The connection
    /// is for as long as the request is to last.
    #[track_caller]
    pub fn spin(&self, slot: u32) -> Connection {
        let (mut connection, who) = self.connect_to(slot);
        connection.ask("/spin/3600000").unwrap();
        let before = process::cpu_ticks(who.pid);
        // A tick is ten milliseconds: far more than the worker needs for anything else.
        wait::expect("the worker spins", || {
            process::cpu_ticks(who.pid) >= before + 10
        });
        connection
    }

    /// One request on a connection of its own, which must be answered with 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        let response = http::get(self.address(), path).unwrap();
        assert_eq!(response.status, 200, "{path}");
        response.text().to_owned()
    }

    // The operator.

    /// Runs a command of the playground's on this cluster.
    #[track_caller]
    pub fn verb(&self, args: &[&str]) -> Ran {
        run(self.plan.verb(args))
    }

    /// Starts a command of the playground's on this cluster, its output going to a file.
    #[track_caller]
    pub fn spawn_verb(&self, args: &[&str], output: &Path) -> Child {
        let output = fs::File::create(output).unwrap();
        let mut command = self.plan.verb(args);
        command
            .stdout(Stdio::from(output.try_clone().unwrap()))
            .stderr(Stdio::from(output));
        command.spawn().unwrap()
    }

    /// Where the control socket is.
    pub fn control_path(&self) -> PathBuf {
        self.plan.runtime_dir().join("control.sock")
    }

    /// A connection to the control socket.
    #[track_caller]
    pub fn control(&self) -> Control {
        Control::connect(&self.control_path()).unwrap()
    }

    /// The status, over the control socket.
    #[track_caller]
    pub fn status(&self) -> Value {
        let mut control = self.control();
        control.ask("status").unwrap();
        control.receive().expect("a status")
    }

    /// Waits until the status satisfies `condition`.
    #[track_caller]
    pub fn expect_status(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) {
        wait::expect(what, || {
            // Before the socket is there, and when it is gone again, there is no status.
            let Ok(mut control) = Control::connect(&self.control_path()) else {
                return false;
            };
            control.ask("status").is_ok() && control.receive().is_some_and(|s| condition(&s))
        });
    }

    /// The workers' processes in order of slot, as the status shows them.
    #[track_caller]
    pub fn worker_pids(&self) -> Vec<u64> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("workers").iter();
        workers
            .filter_map(|worker| worker["pid"].as_u64())
            .collect()
    }

    /// Sends a signal to the master alone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::kill(self.master(), signal);
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

    // The end.

    /// The master's exit status, once it is gone.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        if self.exit.get().is_none() {
            self.exit.set(match self.successor.get() {
                Some(successor) => process::wait_for_orphan(successor),
                None => self.child.borrow_mut().try_wait().unwrap(),
            });
        }
        self.exit.get()
    }

    /// Looks from here on at a master that takes over. The one before has to be gone already, or about to be;
    /// the result is how it ended.
    #[track_caller]
    pub(crate) fn look_at(&self, successor: u32) -> ExitStatus {
        let ended = wait::until(PATIENCE, || self.exit_status());
        let ended = ended.unwrap_or_else(|| panic!("the old master did not end"));
        self.exit.set(None);
        self.successor.set(Some(successor));
        self.master.set(Some(successor));
        ended
    }

    /// Waits until the master is gone by itself, and checks that it left nobody and no socket.
    #[track_caller]
    pub fn expect_exit(&self) -> Ended {
        self.exit_is_expected.set(true);
        let status = wait::until(PATIENCE, || self.exit_status())
            .unwrap_or_else(|| panic!("the master did not end"));
        self.expect_nothing_left();
        Ended {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            events: self.events(),
            trace: self.trace(),
            plan: self.plan.clone(),
        }
    }

    /// As [`expect_exit`](Self::expect_exit), for a master that was refused because another one runs: the
    /// control socket is that one's, and the files are, too.
    #[track_caller]
    pub fn expect_loss(&self) -> Ended {
        self.killed.set(true);
        self.expect_exit()
    }

    /// Kills the master, so that it can do nothing for its children. Returns when that was.
    #[track_caller]
    pub fn kill_master(&self) -> Instant {
        self.exit_is_expected.set(true);
        self.killed.set(true);
        let when = Instant::now();
        self.signal(Signal::KILL);
        when
    }

    /// Everybody is gone at most so long after `since`, give or take what a machine may be late that is
    /// busy with other things: this tells a death that was noticed from one that was not, which takes
    /// tens of seconds. How fast it really is, `bench/` tells.
    #[track_caller]
    pub fn expect_gone_within(&self, time: Duration, since: Instant) -> Duration {
        // Longer than allowed, so that the message can tell by how much it was late.
        let gone = self.survivors.gone_within(PATIENCE);
        let took = since.elapsed();
        assert!(gone, "these are left: {:?}", self.survivors.list());
        assert!(
            took <= time + LATE,
            "the last one was gone after {took:?}, not {time:?}"
        );
        took
    }

    /// Stops and checks the end: exit code 0, nobody left, however the children left.
    #[track_caller]
    pub fn expect_orderly_end(&self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.expect_exit();
        assert_eq!(ended.code, Some(0), "the stop was orderly");
        ended
    }

    /// As [`expect_orderly_end`](Self::expect_orderly_end), with children that all left by themselves.
    #[track_caller]
    pub fn stop(&self) -> Ended {
        let ended = self.expect_orderly_end();
        // The last one: a master that failed to take over has stopped, too.
        let events = ended.events.iter();
        let begin = events.clone().rposition(|event| event.event == "stopping");
        let begin = begin.expect("the stop began");
        for event in events.skip(begin) {
            if event.event.ends_with("-exited") {
                assert_eq!(event.why(), "exited with code 0", "{event:?}");
            }
        }
        ended
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        // The master waits for its children, so there is nothing to wait for here but a grandchild
        // that was killed a moment ago.
        assert!(
            self.survivors.gone_within(PATIENCE),
            "these are left: {:?}",
            self.survivors.list()
        );
        assert!(
            self.killed.get() || !self.control_path().exists(),
            "the control socket is left"
        );
    }

    /// Shows everything there is to know, for a test that failed.
    fn show(&self) {
        eprintln!("--- exit: {:?}", self.exit_status());
        eprintln!("--- survivors: {:?}", self.survivors.list());
        eprintln!("--- events:\n{}", read(&self.plan.events_file()));
        eprintln!("--- hooks:\n{}", read(&self.plan.trace_file()));
        eprintln!("--- stdout:\n{}", self.stdout());
        eprintln!("--- stderr:\n{}---", self.stderr());
    }

    /// Kills everybody.
    fn clear_away(&self) {
        self.survivors.kill_all();
        let _ = self.child.borrow_mut().wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let check = std::panic::AssertUnwindSafe(|| {
                if self.exit_is_expected.get() {
                    self.expect_nothing_left();
                } else {
                    assert_eq!(self.exit_status(), None, "the master ended by itself");
                    self.stop();
                }
            });
            let Err(failure) = std::panic::catch_unwind(check) else {
                let _ = self.child.borrow_mut().wait();
                return;
            };
            self.show();
            self.clear_away();
            std::panic::resume_unwind(failure);
        }
        self.show();
        self.clear_away();
    }
}

/// As text; empty if it is not there.
pub(crate) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
