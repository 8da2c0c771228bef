//! Actions to deeds.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::boot::{Boot, ChildSettings, Lane};
use hatchery_protocol::control::LaunchReport;
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Generation, Role, Seat};
use hatchery_protocol::message::{ToChild, write_message};
use rustix::process::Pid;

use super::Shell;
use super::run::say_failure;
use crate::diagnosis::{Patient, examine};
use crate::listener::Listener;
use crate::proc::is_traced;
use crate::process::Process;
use crate::spawn::{abandon, explain, is_want_of_descriptors};
use crate::supervisor::{Action, Audience, Event, News, Note};
use crate::thread;

/// What a new child gets of its sockets, beside the link.
struct ChildsEnds {
    post: OwnedFd,
    lane: Option<OwnedFd>,
}

impl Shell {
    /// Does one thing. What comes of it, if anything, is appended to `events`.
    pub(super) fn perform(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Spawn { child, generation } => self.spawn(child, generation, events),
            Action::Listen => events.extend(self.listen_in_turn()),
            Action::EggReady { child } => self.hatch(child, events),
            Action::Tell { to, news } => self.tell(to, news, events),
            Action::Announce { child } => self.send(child, &ToChild::Stopping, events),
            Action::Drain { child, budget } => self.drain(child, budget),
            Action::Kill { child } => {
                if let Some(process) = self.processes.get(&child) {
                    process.kill();
                }
            }
            Action::Diagnose { child } => self.diagnose(child, events),
            Action::CloseListeners => self.close_listeners(BTreeSet::new(), events),
            Action::HandOverListeners => self.hand_over(events),
            Action::Stage { order } => events.push_back(self.stage(order)),
            Action::Adopt => self.adopt(events),
            Action::Unstage => self.staged = None,
            Action::Slots { slots } => events.push_back(self.make_slots(slots)),
            Action::StandDown { child } => self.send(child, &ToChild::StandDown, events),
            Action::LaunchSuccessor { .. } => self.launch_successor(events),
            Action::Commit => self.commit(),
            Action::EndSuccessor { at_once } => self.end_successor(at_once),
            Action::Finished { order, outcome } => self.finish(order, outcome),
            Action::Record(note) => self.record(note),
            Action::Exit { exit } => self.end(exit),
        }
    }

    fn spawn(&mut self, child: ChildId, generation: Generation, events: &mut VecDeque<Event>) {
        let mut created = self.create(child, generation);
        if created.as_ref().is_err_and(is_want_of_descriptors) && self.reserve.release_all() {
            // What the first attempt left of its sockets is in the way of the second.
            self.forget_sockets(child);
            created = self.create(child, generation);
        }
        let (process, ends) = match created {
            Ok(created) => created,
            Err(error) => {
                self.forget_sockets(child);
                return events.push_back(Event::SpawnFailed {
                    child,
                    error: explain(&error),
                });
            }
        };
        if !self.adopted.config.single {
            self.roll.enter(process.pid);
        }
        events.push_back(Event::Spawned {
            child,
            pid: process.pid.as_raw_nonzero().get().cast_unsigned(),
        });
        if child.seat == Seat::Agent {
            self.ledger().agent(child, generation);
        }
        // Before the process knows what it is, so that nobody goes on while it may be in office.
        if let Some(heir) = &self.heir {
            heir.will.child(process.pid, process.pidfd());
        }
        if let Some(successor) = &self.successor
            && child.seat == Seat::Agent
        {
            successor.child(process.pidfd());
        }
        let boot = self.boot(child, generation, ends.lane.is_some());
        let boot = ToChild::Boot(Box::new(boot));
        let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
        let mut fds: Vec<BorrowedFd<'_>> = vec![stdout, stderr];
        fds.push(ends.post.as_fd());
        fds.extend(ends.lane.as_ref().map(|lane| lane.as_fd()));
        if let Some(slot) = child.seat.slot() {
            fds.extend(self.listeners.iter().filter_map(|l| l.socket_of(slot)));
        }
        if let Err(error) = process.link.send_boot(&boot, &fds) {
            events.push_back(Event::LinkBroken {
                child,
                reason: error.to_string(),
            });
        }
        self.processes.insert(child, process);
    }

    fn create(
        &mut self,
        child: ChildId,
        generation: Generation,
    ) -> io::Result<(Process, ChildsEnds)> {
        let ends = ChildsEnds {
            post: self.post.join(child)?,
            lane: self.lane(child)?,
        };
        let newborn = if self.adopted.config.single {
            let front = &mut self.front;
            thread::start(child.seat, || front.part(child.seat.role()))?
        } else {
            let executable = &self.build(generation).executable;
            self.spawner.spawn(child.seat, executable)?.into()
        };
        // A thread whose link is closed leaves by itself.
        let process_to_abandon = newborn.teller.is_none().then_some(newborn.pid);
        let (inputs, oom) = (self.inputs.clone(), Arc::clone(&self.oom));
        let ledger = Arc::clone(&self.ledger);
        let process = Process::mind(child, newborn, &self.output, inputs, oom, ledger);
        let process = process.inspect_err(|_| {
            if let Some(pid) = process_to_abandon {
                abandon(pid);
            }
        })?;
        Ok((process, ends))
    }

    /// The worker's end of a new lane, for a worker that is handed connections.
    fn lane(&self, child: ChildId) -> io::Result<Option<OwnedFd>> {
        match &self.handoff {
            Some(handoff) if child.seat.role() == Role::Worker => handoff.lane(child).map(Some),
            _ => Ok(None),
        }
    }

    fn forget_sockets(&self, child: ChildId) {
        self.post.gone(child);
        if let Some(handoff) = &self.handoff {
            handoff.gone(child);
        }
    }

    /// The thread that accepts answers when it is done with those who wait. It has the last copies of what it
    /// accepts from, so nobody can come between its last look and the end of a socket. `go_on` are the listeners,
    /// by their places, that another master serves from now on.
    pub(super) fn close_listeners(&mut self, go_on: BTreeSet<u16>, events: &mut VecDeque<Event>) {
        self.listeners.clear();
        match &self.handoff {
            Some(handoff) => handoff.close(go_on),
            None => events.push_back(Event::ListenersClosed),
        }
    }

    fn boot(&self, child: ChildId, generation: Generation, lane: bool) -> Boot {
        let config = &self.build(generation).config;
        let (start_timeout, listeners) = match child.seat {
            Seat::Agent => (config.agent_start_timeout, Vec::new()),
            Seat::Worker(_) => {
                let listeners: Vec<_> = self.listeners.iter().map(Listener::boot).collect();
                (config.worker_start_timeout, listeners)
            }
        };
        let speaks_tls = listeners.iter().any(|listener| listener.tls.is_some());
        Boot {
            name: config.name.clone(),
            child,
            generation,
            replaces: self.supervisor.is_serving(),
            attributes: self.attributes.of(child.seat),
            settings: ChildSettings {
                workers: self.slots,
                threads: config.threads,
                start_timeout,
                drain_timeout: config.drain_timeout,
                lame_duck: config.lame_duck,
                orphan_grace: config.orphan_grace,
                master_timeout: config.master_timeout,
                http: config.http,
                on_master_death: config.on_master_death,
                log_format: config.log_format,
                log_level: config.log_level.clone(),
            },
            listeners,
            lane: lane.then(|| Lane {
                report_closings: config.http.max_connections > 0
                    || self.listeners.iter().any(Listener::counts_connections),
            }),
            post: Some(config.messages),
            fleet: match child.seat {
                Seat::Agent => config.fleet.clone(),
                Seat::Worker(_) => None,
            },
            host: config.fleet.is_some().then_some(self.host),
            program: match child.seat {
                Seat::Agent => None,
                Seat::Worker(_) => config.program.clone(),
            },
            section: config.section.clone(),
            ticket_secret: speaks_tls.then(|| self.ticket_secret.clone()),
            jobs: match child.seat {
                Seat::Agent => Vec::new(),
                Seat::Worker(_) => self.ledger().jobs(generation),
            },
            agent: self.supervisor.ready_agent(),
            workers: self.supervisor.ready_workers(),
        }
    }

    pub(super) fn listen(&mut self) -> Event {
        let slots = self.slots;
        for listener in &mut self.listeners {
            // A group of sockets that another master made may be larger than this one needs.
            let done = listener
                .listen()
                .and_then(|()| listener.set_slots(slots, true));
            if let Err(error) = done {
                return Event::ListenFailed {
                    error: error.to_string(),
                };
            }
        }
        if let Some(handoff) = &self.handoff {
            handoff.open();
        }
        // Everybody who is there is ready, and about to be told to begin: they meet all at once.
        let everybody = self.processes.iter();
        let everybody = everybody.map(|(child, process)| (*child, process.id()));
        self.post.hatch(everybody.collect());
        Event::Listening
    }

    fn hatch(&self, child: ChildId, events: &mut VecDeque<Event>) {
        if let Some(process) = self.processes.get(&child) {
            self.post.hatch(vec![(child, process.id())]);
        }
        self.pass_schedules_on(child, events);
        self.send(child, &ToChild::EggReady, events);
        if let Some(handoff) = &self.handoff {
            handoff.hatch(child);
        }
    }

    /// Finds out what a child that hangs is doing, unless it stands still because somebody looks at it.
    fn diagnose(&self, child: ChildId, events: &mut VecDeque<Event>) {
        let Some(process) = self.processes.get(&child) else {
            return;
        };
        let pid = process.id();
        if is_traced(pid) {
            tracing::info!(target: "hatchery", "{} (pid {pid}) is held by a debugger", child.seat);
            return events.push_back(Event::Traced { child });
        }
        let patient = Patient { child, pid };
        tokio::spawn(examine(patient, process.ask(), self.inputs.clone()));
    }

    pub(super) fn send(&self, child: ChildId, message: &ToChild, events: &mut VecDeque<Event>) {
        let Some(process) = self.processes.get(&child) else {
            return;
        };
        if let Err(error) = process.link.send(message) {
            events.push_back(Event::LinkBroken {
                child,
                reason: error.to_string(),
            });
        }
    }

    /// Written once, however many hear it.
    fn tell(&self, to: Audience, news: News, events: &mut VecDeque<Event>) {
        let message = match news {
            News::Agent(Some(pid)) => ToChild::AgentUp { pid },
            News::Agent(None) => ToChild::AgentDown,
            News::Workers { up, down } => ToChild::WorkersChanged { up, down },
        };
        let mut bytes = Vec::new();
        if let Err(error) = write_message(&message, 0, &mut bytes) {
            return tracing::error!("news could not be written: {error}");
        }
        for child in self.supervisor.audience(to) {
            let Some(process) = self.processes.get(&child) else {
                continue;
            };
            let sent = if let ToChild::WorkersChanged { up, down } = &message {
                process.link.send_news(&bytes, up, down)
            } else {
                process.link.send_bytes(&bytes)
            };
            if let Err(error) = sent {
                events.push_back(Event::LinkBroken {
                    child,
                    reason: error.to_string(),
                });
            }
        }
    }

    fn drain(&self, child: ChildId, budget: Duration) {
        let Some(process) = self.processes.get(&child) else {
            return;
        };
        self.post.retire(child);
        if let Some(handoff) = &self.handoff {
            handoff.retire(child);
        }
        if process.link.send(&ToChild::Drain { budget }).is_err() {
            // The link is of no use; the signal means the same.
            process.terminate();
        }
    }

    fn record(&mut self, mut note: Note) {
        let event = note.event;
        if event == EventName::EggReady {
            note.reason = Some(self.addresses().join(", "));
        }
        if event == EventName::Stopping {
            self.stop_reason = note.reason.clone().unwrap_or_default();
        }
        self.counters.count(&note);
        self.journal.record(note, self.supervisor.is_stopping());
        if event == EventName::EggReady {
            self.report(&LaunchReport::Ready {
                addresses: self.addresses(),
            });
            if let Some(heir) = self.heir.take() {
                self.inherit(&heir);
            }
        }
        if event == EventName::UpgradeFinished {
            self.handed_over = true;
        }
        self.tell_service(event);
    }

    fn end(&mut self, exit: Exit) {
        let reason = std::mem::take(&mut self.stop_reason);
        if exit != Exit::Orderly {
            say_failure(&reason);
        }
        // Somebody who still waits for readiness waited in vain, however orderly the stop was.
        let report = if exit == Exit::Orderly {
            LaunchReport::Failed {
                exit: Exit::StartFailed,
                message: format!("stopped before it was ready: {reason}"),
            }
        } else {
            let message = reason;
            LaunchReport::Failed { exit, message }
        };
        if let (Some(heir), LaunchReport::Failed { exit, message }) = (self.heir.take(), &report) {
            Self::disclaim(&heir, *exit, message);
        }
        self.report(&report);
        self.exit = Some(exit);
    }

    /// Lets go of a process that is gone, keeping what it counted. Returns whom nobody has waited for yet.
    pub(super) fn forget(&mut self, child: ChildId) -> Option<Pid> {
        self.forget_sockets(child);
        self.ledger().forget(child);
        let process = self.processes.remove(&child)?;
        self.counters.bury(child.seat.slot(), &process.gauges());
        Some(process.pid)
    }
}
