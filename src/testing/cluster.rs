//! A cluster that runs.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hatchery_protocol::event::EventRecord;
use hatchery_protocol::id::Slot;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::application::{output, runtime_dir};
use super::events::Events;
use super::http::{self, Response};
use super::{Event, Failure, who};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A process of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The master.
    Master,
    /// The agent.
    Agent,
    /// The worker in this slot.
    Worker(Slot),
}

/// A running cluster. Dropped, it is stopped.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    folder: TempDir,
    master: RefCell<Child>,
    events: Events,
    patience: Duration,
}

impl Cluster {
    pub(super) const fn new(
        program: PathBuf,
        folder: TempDir,
        master: Child,
        events: Events,
        patience: Duration,
    ) -> Self {
        let master = RefCell::new(master);
        Self {
            program,
            folder,
            master,
            events,
            patience,
        }
    }

    // What happened.

    /// All events so far, in order.
    pub fn events(&self) -> Vec<EventRecord> {
        self.events.look(<[EventRecord]>::to_vec)
    }

    /// How many events there were so far: a place for [`wait_since`](Self::wait_since).
    pub fn mark(&self) -> usize {
        self.events.look(<[EventRecord]>::len)
    }

    /// Waits for an event; one that came already will do.
    ///
    /// # Errors
    ///
    /// It did not come in time, or the master has ended.
    pub fn wait(&self, event: Event) -> Result<EventRecord, Failure> {
        self.wait_since(0, event)
    }

    /// Waits for an event after a [`mark`](Self::mark).
    ///
    /// # Errors
    ///
    /// As of [`wait`](Self::wait).
    pub fn wait_since(&self, mark: usize, event: Event) -> Result<EventRecord, Failure> {
        self.wait_where(event.as_str(), |events| {
            let mut later = events.iter().skip(mark);
            later.find(|record| record.event == event).cloned()
        })
    }

    /// Waits until `look` finds among all events what it looks for; `what` is how a failure calls it.
    ///
    /// # Errors
    ///
    /// As of [`wait`](Self::wait).
    pub fn wait_where<T>(
        &self,
        what: &str,
        look: impl Fn(&[EventRecord]) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            // First whether it is gone, then a look: it may have told before it went.
            let ended = self.ended();
            if let Some(found) = self.events.look(&look) {
                return Ok(found);
            }
            if let Some(status) = ended {
                return Err(self.fail(format!("no {what}, and the master has ended: {status}")));
            }
            if Instant::now() >= deadline {
                return Err(self.fail(format!("no {what} within {:?}", self.patience)));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// That all events of each kind came before the first of the next kind.
    ///
    /// # Errors
    ///
    /// They came in another order, or there is none of a kind.
    pub fn expect_order(&self, order: &[Event]) -> Result<(), Failure> {
        let events = self.events();
        let mut before: Option<(Event, usize)> = None;
        for kind in order {
            let of_kind = |record: &EventRecord| record.event == *kind;
            let Some(first) = events.iter().position(of_kind) else {
                return Err(self.fail(format!("no {kind}")));
            };
            if let Some((earlier, last)) = before
                && last > first
            {
                return Err(self.fail(format!("{kind} came before the last {earlier}")));
            }
            let last = events.iter().rposition(of_kind).unwrap_or(first);
            before = Some((*kind, last));
        }
        Ok(())
    }

    // Who is there.

    /// The process id of a role, as of the last event about it.
    ///
    /// # Errors
    ///
    /// There was none.
    pub fn pid(&self, role: Role) -> Result<u32, Failure> {
        let (spawned, slot) = match role {
            Role::Master => return Ok(self.master.borrow().id()),
            Role::Agent => (Event::AgentSpawned, None),
            Role::Worker(slot) => (Event::WorkerSpawned, Some(slot)),
        };
        let pid = self.events.look(|events| {
            let mut from_the_end = events.iter().rev();
            from_the_end
                .find(|record| record.event == spawned && record.slot == slot)
                .and_then(|record| record.pid)
        });
        pid.ok_or_else(|| self.fail(format!("there is no {role:?}")))
    }

    /// What `status --json` says.
    ///
    /// # Errors
    ///
    /// The command failed.
    pub fn status(&self) -> Result<Value, Failure> {
        let printed = self.command(&["status", "--json"])?;
        serde_json::from_str(&printed)
            .map_err(|error| self.fail(format!("status is no JSON: {error}: {printed}")))
    }

    /// Runs a command of the application's for this cluster, as `&["reload"]`, and returns what it printed.
    ///
    /// # Errors
    ///
    /// It cannot be run, or ended with another code than 0.
    pub fn command(&self, arguments: &[&str]) -> Result<String, Failure> {
        let ran = Command::new(&self.program)
            .args(arguments)
            .arg("--runtime-dir")
            .arg(runtime_dir(self.folder.path()))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.fail(format!("{arguments:?} cannot be run: {error}")))?;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(self.fail(format!("{arguments:?} ended: {}: {said}", ran.status)));
        }
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Standard output and standard error of all processes so far.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(output(self.folder.path())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    // Clients.

    /// The first TCP address that is served.
    ///
    /// # Errors
    ///
    /// There is none, or [`status`](Self::status) fails.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        let status = self.status()?;
        let listeners = status.get("listeners").and_then(Value::as_array);
        let mut addresses = listeners.into_iter().flatten().filter_map(|listener| {
            let address = listener.get("address")?.as_str()?;
            address.parse().ok()
        });
        addresses
            .next()
            .ok_or_else(|| self.fail("no TCP address is served"))
    }

    /// Sends a GET on a connection of its own. For more than this use any HTTP client and [`address`](Self::address).
    ///
    /// # Errors
    ///
    /// No answer came in time, or none of HTTP.
    pub fn get(&self, path: &str) -> Result<Response, Failure> {
        http::get(self.address()?, path, self.patience)
            .map_err(|error| self.fail(format!("GET {path}: {error}")))
    }

    /// Sends a GET and asks the kernel which worker has the connection.
    ///
    /// # Errors
    ///
    /// As of [`get`](Self::get); the address is not of IPv4; or the worker was gone again.
    pub fn who_answers(&self, path: &str) -> Result<Slot, Failure> {
        let connection = http::ask(self.address()?, path, self.patience)
            .map_err(|error| self.fail(format!("GET {path}: {error}")))?;
        let workers: Vec<(Slot, u32)> = self.events.look(|events| {
            let spawned = events
                .iter()
                .filter(|record| record.event == Event::WorkerSpawned);
            spawned
                .filter_map(|record| record.slot.zip(record.pid))
                .collect()
        });
        who::holds(&connection, &workers)
            .map_err(|error| self.fail(format!("who answers GET {path}: {error}")))
    }

    // Its end.

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn signal(&self, role: Role, signal: Signal) -> Result<(), Failure> {
        let pid = self.pid(role)?;
        let there = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let sent = there.map(|pid| kill_process(pid, signal));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.fail(format!("{role:?} ({pid}) is gone"))),
        }
    }

    /// Kills a process, so that it can do nothing about it (`SIGKILL`).
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn kill(&self, role: Role) -> Result<(), Failure> {
        self.signal(role, Signal::KILL)
    }

    /// Waits until the master has ended, for whatever reason.
    ///
    /// # Errors
    ///
    /// It did not in time.
    pub fn ends(&self) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.fail(format!(
                    "the master has not ended within {:?}",
                    self.patience
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until nobody is left whom the events tell of: for after [`kill`](Self::kill) of the master.
    ///
    /// # Errors
    ///
    /// Somebody is left.
    pub fn leaves_nobody(&self) -> Result<(), Failure> {
        self.ends()?;
        let deadline = Instant::now() + self.patience;
        loop {
            let pids = self.events().into_iter().filter_map(|record| record.pid);
            let left: Vec<u32> = pids.filter(|pid| who::is_alive(*pid)).collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.fail(format!("these are left: {left:?}")));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Stops it in order and waits for the end.
    ///
    /// # Errors
    ///
    /// It did not end in time, or not with exit code 0.
    pub fn stop(self) -> Result<(), Failure> {
        self.signal(Role::Master, Signal::TERM)?;
        match self.ends()? {
            status if status.success() => Ok(()),
            status => Err(self.fail(format!("the stop was not in order: {status}"))),
        }
    }

    fn ended(&self) -> Option<ExitStatus> {
        // What cannot be waited for is gone, and was waited for by somebody else: not in a test.
        self.master.borrow_mut().try_wait().ok().flatten()
    }

    /// With all that is known.
    fn fail(&self, what: impl Into<String>) -> Failure {
        let mut report = String::from("--- events:\n");
        for record in self.events() {
            let EventRecord {
                event,
                slot,
                pid,
                reason,
                ..
            } = record;
            let slot = slot.map(|slot| format!(" {slot}")).unwrap_or_default();
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let reason = reason.unwrap_or_default();
            // Into a string: it cannot fail.
            let _ = writeln!(report, "{event}{slot}{pid} {reason}");
        }
        let _ = write!(report, "--- output:\n{}---", self.output());
        Failure::new(what).with(report)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.ended().is_some() || self.signal(Role::Master, Signal::TERM).is_err() {
            return;
        }
        if self.ends().is_err() {
            // Its children notice by themselves.
            let mut master = self.master.borrow_mut();
            let _ = master.kill();
            let _ = master.wait();
        }
    }
}
