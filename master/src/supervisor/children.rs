//! What children do: they exist, are ready, fail and die.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::{Exit, ExitKind};
use hatchery_protocol::id::{ChildId, Role, Seat};

use super::action::{Action, Note};
use super::cluster::{Course, Supervisor, note};
use super::event::{Death, Now, Status};
use super::seat::{Occupant, Phase, Position};

/// How much longer than its start timeout a child may boot before the master kills it. A child watches
/// its own hook and knows its name; the master is there for the child that cannot.
const BOOT_MARGIN: Now = Now::from_millis(500);
/// What a child exits with that lost its master.
const LOST_MASTER: i32 = Exit::LostMaster.code() as i32;

impl Supervisor {
    pub(super) fn on_spawned(&mut self, now: Now, child: ChildId, pid: u32, out: &mut Vec<Action>) {
        let Some(generation) = self.process(child).map(|process| process.generation) else {
            return;
        };
        let policy = self.policy_of(generation);
        let limit = match child.seat.role() {
            Role::Agent => policy.agent_start_timeout,
            Role::Worker | Role::Master => policy.worker_start_timeout,
        };
        let Some(process) = self.process(child).filter(|p| p.phase == Phase::Spawning) else {
            return;
        };
        process.pid = Some(pid);
        process.phase = Phase::Booting {
            deadline: now + limit + BOOT_MARGIN,
        };
        let event = match child.seat {
            Seat::Agent => EventName::AgentSpawned,
            Seat::Worker(_) => EventName::WorkerSpawned,
        };
        out.push(note(process, event, None));
    }

    pub(super) fn on_spawn_failed(
        &mut self,
        now: Now,
        child: ChildId,
        error: &str,
        out: &mut Vec<Action>,
    ) {
        // A process that exists is gone when it exits, and not before.
        let process = self.process(child);
        if process.is_some_and(|process| process.phase == Phase::Spawning) {
            let cause = format!("its process could not be created: {error}");
            self.depart(now, child, ExitKind::SpawnFailed, &cause, &[], out);
        }
    }

    pub(super) fn on_hello(&mut self, child: ChildId) {
        if let Some(process) = self.process(child) {
            process.said_hello = true;
        }
    }

    pub(super) fn on_ready(&mut self, now: Now, child: ChildId, out: &mut Vec<Action>) {
        let healing = self.is_serving();
        let Some(process) = self.process(child) else {
            return;
        };
        match process.phase {
            Phase::Booting { .. } => {}
            Phase::Ready { .. } => {
                let cause = "it said `ready` twice".to_owned();
                return self.kill(child, Some(ExitKind::LostLink), cause, out);
            }
            // It was asked to leave while it was still on its way to being ready.
            Phase::Spawning | Phase::Draining { .. } | Phase::Killed => return,
        }
        process.phase = Phase::Ready { since: now };
        process.ready_since = Some(now);
        (process.heard, process.alive) = (now, now);
        let generation = process.generation;
        let (ready, is_worker) = match child.seat {
            Seat::Agent => (EventName::AgentReady, false),
            Seat::Worker(_) => (EventName::WorkerReady, true),
        };
        out.push(note(process, ready, None));
        if is_worker {
            let replaced = note(process, EventName::WorkerReplaced, None);
            let again = self.places.get(child.seat).is_some_and(|p| p.spawns > 1);
            if healing && again {
                out.push(replaced);
            }
            self.prove(generation);
            self.scaling.has_started(child.seat);
        }
    }

    pub(super) fn on_hook_failed(
        &mut self,
        now: Now,
        child: ChildId,
        message: String,
        timed_out: bool,
    ) {
        let patience = self.policy.kill_after;
        let drain = self.policy.drain_timeout;
        let Some(process) = self.process(child) else {
            return;
        };
        // It leaves by itself, and never becomes ready; the deadline is for the one that does not leave.
        let deadline = match process.phase {
            Phase::Booting { deadline } => {
                // The same end as by the master's own watch, which is there for who cannot notice.
                if timed_out {
                    process.fate.get_or_insert(ExitKind::StartTimeout);
                }
                deadline.min(now + patience)
            }
            // Clients may be connected to it.
            Phase::Ready { .. } => now + drain + patience,
            Phase::Draining { deadline } => deadline,
            Phase::Spawning | Phase::Killed => return,
        };
        process.phase = Phase::Draining { deadline };
        process.cause.get_or_insert(message);
    }

    pub(super) fn on_exited(
        &mut self,
        now: Now,
        child: ChildId,
        death: &Death,
        out: &mut Vec<Action>,
    ) {
        let Some(process) = self.process(child) else {
            return;
        };
        let cause = match process.cause.take() {
            Some(cause) => format!("{cause}; {}", death.status),
            None => death.told(),
        };
        let kind = process.fate.unwrap_or(match death.status {
            Status::Code(0) => ExitKind::Orderly,
            Status::Code(LOST_MASTER) => ExitKind::LostLink,
            Status::Code(_) => ExitKind::Code,
            Status::Signal(_) => ExitKind::Signal,
            Status::LeftBehind | Status::Unknown => ExitKind::Unknown,
        });
        self.depart(now, child, kind, &cause, &death.last_words, out);
    }

    /// A child is gone, or never came to be.
    fn depart(
        &mut self,
        now: Now,
        child: ChildId,
        kind: ExitKind,
        cause: &str,
        last_words: &[String],
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.places.edit(child.seat) else {
            return;
        };
        let Some((gone, position)) = place.remove(child) else {
            return;
        };
        place.last_exit = Some((kind, cause.to_owned()));
        // Quoted once: with the death that ends the start in the reason for the stop, else right here.
        let quoted = quote(cause, last_words);
        let starting = matches!(self.course, Course::Starting { .. });
        let reason = if starting { cause } else { &quoted };
        out.push(Action::Record(Note {
            event: match child.seat {
                Seat::Agent => EventName::AgentExited,
                Seat::Worker(_) => EventName::WorkerExited,
            },
            seat: Some(child.seat),
            pid: gone.pid,
            generation: gone.generation,
            reason: Some(reason.to_owned()),
            exit: Some(kind),
        }));
        if position == Position::Leaver {
            return;
        }
        let whose = child.seat;
        if starting {
            let reason = format!("{whose} failed to start: {quoted}");
            return self.begin_stop(now, Exit::StartFailed, reason, false, out);
        }
        if self.is_serving() && !self.policy.heals {
            let reason = format!("{whose} is gone, and nobody takes its place: {quoted}");
            return self.begin_stop(now, Exit::HookFailed, reason, false, out);
        }
        self.take_stock(now, &gone, &quoted, out);
    }

    /// Draws the conclusions from a death that nobody wanted.
    fn take_stock(&mut self, now: Now, gone: &Occupant, quoted: &str, out: &mut Vec<Action>) {
        let seat = gone.id.seat;
        let adopted = self.adopted;
        let backoff = &self.policy.backoff;
        let Some(place) = self.places.edit(seat) else {
            return;
        };
        // Who was killed because it was in its heir's way did not crash.
        let in_the_way = gone.fate == Some(ExitKind::Replaced);
        if gone.generation == adopted && !in_the_way {
            place.mourn(now, gone, backoff);
        } else {
            // Nor has the seat anything to do with a build that is not the cluster's own.
            place.vacant_until = now;
        }
        let looping = place.deaths >= backoff.crash_loop && !in_the_way;
        let news = looping && !place.looping;
        place.looping |= looping;
        if !self.is_serving() {
            return;
        }
        let verb = match gone.ready_since {
            Some(_) => "died",
            None => "failed to start",
        };
        self.fail_reload(gone.generation, || format!("{seat} {verb}: {quoted}"));
        self.scaling.has_failed(seat, quoted, out);
        if news {
            let deaths = self.places.get(seat).map_or(0, |place| place.deaths);
            let reason = format!("{deaths} deaths in a row; the last: {quoted}");
            out.push(note(gone, EventName::Degraded, Some(reason.clone())));
            if self.policy.exit_on_crash_loop {
                let reason = format!("{seat} is in a crash loop: {reason}");
                self.begin_stop(now, Exit::StartFailed, reason, false, out);
            }
        }
    }

    /// Kills a process that exists; one that is being created is killed when it does.
    pub(super) fn kill(
        &mut self,
        child: ChildId,
        fate: Option<ExitKind>,
        cause: String,
        out: &mut Vec<Action>,
    ) {
        let Some(process) = self.process(child) else {
            return;
        };
        if process.phase != Phase::Killed && process.phase != Phase::Spawning {
            process.phase = Phase::Killed;
            process.cause.get_or_insert(cause);
            if process.fate.is_none() {
                process.fate = fate;
            }
            out.push(Action::Kill { child });
        }
    }
}

/// A cause, and the last lines of a process that died on its way to being ready.
fn quote(cause: &str, last_words: &[String]) -> String {
    if last_words.is_empty() {
        return cause.to_owned();
    }
    format!(
        "{cause}; the last it wrote:\n    {}",
        last_words.join("\n    ")
    )
}
