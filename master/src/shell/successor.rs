//! Being followed by a new master: the old one's deeds.

use std::collections::{BTreeSet, VecDeque};

use hatchery_protocol::id::Seat;
use rustix::process::getpid;

use super::{Shell, Wish};
use crate::spawn::explain;
use crate::succession::{Inheritable, Successor};
use crate::supervisor::{Event, SuccessorNews};

impl Shell {
    /// Why a wish cannot be fulfilled, where that is not for the supervisor to know.
    pub(super) fn refusal(&self, wish: Wish) -> Option<&'static str> {
        if self.adopted.config.single {
            return Some(
                "agent and worker are in the master's own process (`single`), where nobody can be replaced or added; stop \
                 it and start it again",
            );
        }
        (wish == Wish::Upgrade && getpid().is_init()).then_some(
            "this master is process 1: its end would be that of the whole container, so nobody can take over from \
             it; use `reload`, or start a new container",
        )
    }

    pub(super) fn launch_successor(&mut self, events: &mut VecDeque<Event>) {
        let agents = self.processes.iter();
        let agents = agents.filter(|(child, _)| child.seat == Seat::Agent);
        let agents = agents.map(|(_, process)| process.pidfd()).collect();
        let inheritable = Inheritable {
            name: &self.adopted.config.name,
            runtime_dir: self.runtime_dir.path().to_owned(),
            generation: self.newest,
            configured_workers: self.adopted.config.workers,
            wanted_workers: self.supervisor.wanted_workers(),
            background: self.background,
            ticket_secret: &self.ticket_secret,
            lock: self.runtime_dir.lock(),
            control: self.control.socket(),
            listeners: &self.listeners,
            agents,
        };
        let inputs = self.inputs.clone();
        // Looked at for the sentence that says what is wrong with it, and run by its path: that is the new master's
        // name.
        let started = self
            .program
            .open()
            .map_err(|error| error.to_string())
            .and_then(|_| {
                Successor::start(self.program.path(), inheritable, &self.output, inputs)
                    .map_err(|error| explain(&error))
            });
        let news = match started {
            Ok(successor) => {
                let pid = successor.pid.as_raw_nonzero().get().cast_unsigned();
                self.successor = Some(successor);
                SuccessorNews::Launched { pid }
            }
            Err(error) => SuccessorNews::Gone {
                reason: format!("it could not be started: {error}"),
            },
        };
        events.push_back(Event::Successor(news));
    }

    pub(super) fn commit(&self) {
        if let Some(successor) = &self.successor {
            let mut ledger = self.ledger();
            ledger.hand_over(true);
            successor.commit(ledger.known());
        }
    }

    pub(super) fn end_successor(&self, at_once: bool) {
        if let Some(successor) = &self.successor {
            successor.end(at_once);
        }
    }

    /// The addresses, the control socket, the lock and the pid file are the new master's. What it does not go on
    /// with is given up as in a stop.
    pub(super) fn hand_over(&mut self, events: &mut VecDeque<Event>) {
        let Some(successor) = &self.successor else {
            return self.close_listeners(BTreeSet::new(), events);
        };
        let pid = successor.pid.as_raw_nonzero().get().cast_unsigned();
        let go_on: BTreeSet<u16> = successor.adopted().iter().copied().collect();
        // Where only the main process is listened to, this is the last word of it that counts.
        self.notifier.main_pid(pid);
        self.control.hand_over();
        for (place, listener) in (0..).zip(&mut self.listeners) {
            if go_on.contains(&place) {
                listener.disown_file();
            }
        }
        self.close_listeners(go_on, events);
    }
}
