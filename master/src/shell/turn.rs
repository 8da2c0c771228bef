//! The loop: inputs to events.

use std::collections::VecDeque;

use hatchery_protocol::clock::{boottime, monotonic};
use hatchery_protocol::message::{ToChild, write_message};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::run::Remains;
use super::suspension::Wakefulness;
use super::{Input, Shell, Wish};
use crate::signals::Signal;
use crate::supervisor::{Event, SuccessorNews};

/// How often the master tells its children that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How soon after a beat its answers are looked at: they are there within milliseconds.
const ANSWERS: Duration = Duration::from_millis(100);
/// A timer without a deadline: far enough not to matter.
const FAR: Duration = Duration::from_secs(3600);

/// What a turn of the loop is about.
enum Woken {
    Input(Box<Input>),
    Beat,
    Answers,
    Watchdog,
    Tick,
}

impl Shell {
    /// Takes turns until the supervisor's last action.
    pub(super) async fn turn_until_the_end(mut self, mut inputs: mpsc::Receiver<Input>) -> Remains {
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let often = self.notifier.watchdog_interval().unwrap_or(FAR);
        let mut watchdog = interval_at(Instant::now() + often, often);
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = self.adopted.config.worker_timeout;
        let mut wakefulness = Wakefulness::new(BEAT, patience, boottime());
        let mut answers_due = None;
        self.happen(Event::Started);
        loop {
            if let Some(exit) = self.exit {
                self.see_off_orphans();
                return Remains {
                    exit,
                    control: self.control,
                    pid_file: self.pid_file,
                    journal: self.journal,
                    output: self.output,
                    lock: self.runtime_dir,
                };
            }
            let wait = self
                .supervisor
                .deadline()
                .map_or(FAR, |deadline| deadline.saturating_sub(monotonic()));
            let answers = answers_due.unwrap_or_else(|| Instant::now() + FAR);
            let woken = tokio::select! {
                Some(input) = inputs.recv() => Woken::Input(Box::new(input)),
                _ = beat.tick() => Woken::Beat,
                () = sleep_until(answers) => Woken::Answers,
                _ = watchdog.tick() => Woken::Watchdog,
                () = sleep_until(Instant::now() + wait) => Woken::Tick,
            };
            // Before anything is judged by the time that has passed.
            if let Some(gap) = wakefulness.turn(boottime()) {
                tracing::warn!(target: "hatchery", "this master did not run for {} ms", gap.as_millis());
                self.happen(Event::Suspended);
            }
            match woken {
                Woken::Input(input) => self.take(*input),
                Woken::Beat => {
                    self.beat();
                    answers_due = Some(Instant::now() + ANSWERS);
                }
                Woken::Answers => {
                    answers_due = None;
                    self.pass_beats_on();
                }
                Woken::Watchdog => self.feed_watchdog(),
                Woken::Tick => {
                    // Nobody is judged by a silence that is over.
                    self.pass_beats_on();
                    self.happen(Event::Tick);
                }
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Happened(event) => {
                let mut gone = None;
                if let Event::Exited { child, .. } = event {
                    gone = self.forget(child);
                }
                if let Event::Successor(SuccessorNews::Gone { .. }) = event {
                    gone = self.successor.take().map(|successor| successor.pid);
                    self.ledger().hand_over(false);
                }
                // First, where the number of processes is limited: the dead count until then.
                if let Some(pid) = gone {
                    self.reap_own(pid);
                }
                self.happen(event);
            }
            Input::Signalled(signal) => self.on_signal(signal),
            // A client that left before its answer is fine.
            Input::Status(to) => drop(to.send(self.status())),
            Input::Metrics(to) => drop(to.send(self.metrics())),
            Input::Follow { to, stop } => {
                let _ = to.send(self.journal.follow());
                if stop {
                    self.stop("asked to by command", false);
                }
            }
            Input::Order { wish, to } => self.place(wish, "a command", Some(to)),
            Input::Schedule { name, command, to } => self.command_schedule(name, command, to),
            Input::RunEnded(end) => {
                if let Some(successor) = &self.successor {
                    successor.run_ended(end);
                }
            }
            Input::Inherited(legacy) => self.inherit_schedules(legacy),
            Input::Decided(decision) => self.decided(decision),
            Input::LauncherGone => {
                if self.launcher.take().is_some() {
                    self.stop(
                        "whoever started this daemon left before it was ready",
                        false,
                    );
                }
            }
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Stop(name) => self.stop(name, self.supervisor.is_stopping()),
            Signal::Quit => self.stop("SIGQUIT", true),
            Signal::Upgrade => self.place(Wish::Upgrade, "SIGUSR2", None),
            Signal::Child => self.reap_orphans(),
            Signal::Reload => self.place(Wish::Reload { agent: false }, "SIGHUP", None),
            Signal::Scale(name, to) => self.place(Wish::Scale(to), name, None),
            Signal::Reopen => self.reopen(),
        }
    }

    pub(super) fn stop(&mut self, origin: &str, at_once: bool) {
        self.happen(Event::StopRequested {
            origin: origin.to_owned(),
            at_once,
        });
    }

    /// Feeds one event to the supervisor, performs what it answers, and feeds back what came of that.
    pub(super) fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            self.supervisor.handle(monotonic(), event, &mut actions);
            for action in actions.drain(..) {
                self.perform(action, &mut events);
            }
        }
    }

    fn beat(&mut self) {
        // Those that came late.
        self.pass_beats_on();
        self.measure_memory();
        // Signals are merged when they come fast, and the kernel's list of children may miss one.
        self.reap_orphans();
        self.reserve.fill(std::io::stderr());
        self.keep_service_informed();
        let mut bytes = Vec::new();
        if write_message(&ToChild::Beat, 0, &mut bytes).is_err() {
            return;
        }
        let broken: Vec<Event> = self
            .processes
            .iter()
            .filter_map(|(child, process)| {
                let error = process.link.beat(&bytes).err()?;
                Some(Event::LinkBroken {
                    child: *child,
                    reason: error.to_string(),
                })
            })
            .collect();
        for event in broken {
            self.happen(event);
        }
    }

    /// The answers to the beat before, as far as somebody decides by them.
    fn pass_beats_on(&mut self) {
        let (timeout, recycle) = (
            self.adopted.config.worker_timeout,
            &self.adopted.config.recycle,
        );
        if timeout.is_zero() && recycle.max_requests == 0 {
            return;
        }
        let beats = self.processes.iter();
        let beats = beats.filter_map(|(child, process)| process.take_beat(*child));
        for beat in beats.collect::<Vec<_>>() {
            self.happen(beat);
        }
    }
}
