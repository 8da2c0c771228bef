//! The state of the whole cluster: actions out.
//!
//! Everything here looks at the state alone, never at the event that came before. That is what makes a
//! lost or doubled event harmless.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use super::action::Action;
use super::cluster::{Course, Supervisor, note};
use super::event::Now;
use super::seat::{Occupant, Phase, Place};

impl Supervisor {
    /// Compares what is wanted with what is.
    pub(super) fn reconcile(&mut self, now: Now, out: &mut Vec<Action>) {
        self.look_after(now, out);
        match self.course {
            Course::Idle | Course::Finished => {}
            Course::Starting { listening } => {
                self.fill_seats(now, out);
                self.tell_news(out);
                if !listening && self.everybody_is_ready() {
                    self.course = Course::Starting { listening: true };
                    out.push(Action::Listen);
                }
            }
            Course::Serving | Course::Announced { .. } => {
                while self.serve(now, out) {
                    self.look_after(now, out);
                }
            }
            Course::Stopping {
                exit,
                deadline,
                at_once,
                closing,
            } => {
                self.press_successor(now, deadline, at_once, out);
                if at_once {
                    self.kill_everybody(out);
                } else {
                    self.drain_all(now, deadline, closing.is_some(), out);
                }
                self.leave_when_alone(exit, out);
            }
        }
        self.settle();
        self.places.rest();
    }

    /// What is due in the seats that something happened to.
    fn look_after(&mut self, now: Now, out: &mut Vec<Action>) {
        self.places.wake(now);
        self.settle();
        for seat in self.places.fresh() {
            self.kill_overdue(now, seat, out);
            self.watch(now, seat, out);
            self.tend(now, seat, out);
        }
        self.settle();
    }

    /// True if something ended that others waited for, or something else is due already.
    fn serve(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        self.advance_upgrade(now, out);
        self.advance_reload(out);
        self.hand_over_agent(now, out);
        self.settle();
        self.fill_seats(now, out);
        self.replace_outdated(now, out);
        self.recycle(now, out);
        self.settle();
        self.tell_news(out);
        self.hatch(out);
        self.forewarn(out);
        self.drain_dismissed(now, out);
        self.settle();
        self.conclude_scaling(out);
        // Whoever was sent away in its start makes room for another one to boot.
        let next = self
            .next_spawn()
            .into_iter()
            .chain(self.places.next_due())
            .min();
        let due = next.is_some_and(|at| at <= now);
        self.conclude_reload(out) || due
    }

    /// Kills who has had enough time.
    fn kill_overdue(&mut self, now: Now, seat: Seat, out: &mut Vec<Action>) {
        let Some(place) = self.places.get(seat) else {
            return;
        };
        let late = |deadline: Option<Now>| deadline.is_some_and(|deadline| deadline <= now);
        let overdue: Vec<(ChildId, Option<ExitKind>, String)> = place
            .processes()
            .filter(|process| late(process.deadline()))
            .map(|process| match process.phase {
                Phase::Draining { .. } => {
                    let cause = "it did not finish in time and was killed".to_owned();
                    (process.id, None, cause)
                }
                Phase::Spawning | Phase::Booting { .. } | Phase::Ready { .. } | Phase::Killed => {
                    let cause = too_slow(seat, process.said_hello);
                    (process.id, Some(ExitKind::StartTimeout), cause)
                }
            })
            .collect();
        for (child, fate, cause) in overdue {
            self.kill(child, fate, cause, out);
        }
    }

    /// Puts the processes of one seat in their places.
    fn tend(&mut self, now: Now, seat: Seat, out: &mut Vec<Action>) {
        self.kill_failed_generation(seat, out);
        let serving = self.is_serving();
        let stable = self.policy.backoff.stable;
        let Some(place) = self.places.get(seat) else {
            return;
        };
        let recovered = place.recovers_at(stable).is_some_and(|at| at <= now);
        let waits = place.successor.as_ref();
        let takes_over = seat != Seat::Agent
            && serving
            && (waits.is_some_and(Occupant::is_ready)
                || waits.is_some() && place.occupant.is_none());
        let expires = self.has_expired(now, place);
        if !recovered && !takes_over && !expires {
            return;
        }
        let Some(place) = self.places.edit(seat) else {
            return;
        };
        if recovered {
            place.looping = false;
            place.deaths = 0;
            if let Some(occupant) = &place.occupant {
                out.push(note(occupant, EventName::Recovered, None));
            }
        }
        if expires && let Some(occupant) = &mut place.occupant {
            occupant.worn = Some("it has been at work for long enough".to_owned());
        }
        if takes_over {
            // As if it had died: a process that was ready for long enough ends the row.
            let ready_since = place.occupant.as_ref().and_then(|o| o.ready_since);
            if ready_since.is_some_and(|since| since + stable <= now) {
                place.deaths = 0;
            }
            take_over(place);
        }
    }

    /// A process for each seat that has none and is due, as many at once as may boot.
    fn fill_seats(&mut self, now: Now, out: &mut Vec<Action>) {
        self.fill_agent(now, out);
        if self.ready_agent().is_none() && !self.is_serving() {
            return;
        }
        let generation = self.fill_generation();
        while self.may_boot()
            && let Some(&(at, seat)) = self.places.vacant.first()
            && at <= now
        {
            self.spawn(seat, generation, out);
            self.settle();
        }
    }

    fn fill_agent(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(place) = self.places.get(Seat::Agent) else {
            return;
        };
        if place.occupant.is_none() && place.vacant_until <= now && !self.agent_is_withheld() {
            self.spawn(Seat::Agent, self.adopted, out);
        }
    }

    /// When a process is to be created that nothing but time stands against.
    pub(super) fn next_spawn(&self) -> Option<Now> {
        if !self.is_serving() {
            return None;
        }
        let vacant = self.places.vacant.first().filter(|_| self.may_boot());
        let outdated = self.places.outdated.first().filter(|_| self.may_replace());
        let worn = self.places.worn.first().filter(|_| self.may_recycle());
        let workers = [vacant, outdated, worn]
            .into_iter()
            .flatten()
            .map(|(at, _)| *at)
            .min();
        workers.into_iter().chain(self.next_agent()).min()
    }

    /// Whether one more worker may boot. The limit is there for clients that are served meanwhile, so a start
    /// has none. The agent is not counted: there is one, and workers that boot slowly must not keep it waiting.
    pub(super) fn may_boot(&self) -> bool {
        if !self.is_serving() {
            return true;
        }
        let limit = usize::try_from(self.policy.booting.max(1)).unwrap_or(usize::MAX);
        self.places.tally.booting < limit
    }

    /// Creates a process for a seat: its occupant if it has none, else its successor.
    pub(super) fn spawn(&mut self, seat: Seat, generation: Generation, out: &mut Vec<Action>) {
        if let Some(place) = self.places.edit(seat) {
            self.incarnations += 1;
            let child = place.admit(self.incarnations, generation);
            out.push(Action::Spawn { child, generation });
        }
    }

    /// Asks those to leave whose seats others have now. Last of all, so that there is no moment in which
    /// nobody takes clients.
    fn drain_dismissed(&mut self, now: Now, out: &mut Vec<Action>) {
        let budget = self.policy.drain_timeout;
        let deadline = now + budget + self.policy.kill_after;
        for seat in self.places.fresh() {
            let dismissed = self.places.get(seat).is_some_and(|place| {
                let mut leavers = place.leavers.iter();
                leavers.any(|p| p.listens() && p.phase != Phase::Spawning)
            });
            if !dismissed {
                continue;
            }
            let Some(place) = self.places.edit(seat) else {
                continue;
            };
            for leaver in place.leavers.iter_mut().filter(|p| p.listens()) {
                if leaver.phase != Phase::Spawning {
                    leaver.phase = Phase::Draining { deadline };
                    out.push(note(leaver, EventName::Draining, leaver.cause.clone()));
                    let child = leaver.id;
                    out.push(Action::Drain { child, budget });
                }
            }
        }
    }
}

/// Why a process is killed that had its start timeout. Who has not even said hello stands still where its author's
/// `start` cannot be blamed.
fn too_slow(seat: Seat, said_hello: bool) -> String {
    let hook = match seat {
        Seat::Agent => "Agent::start",
        Seat::Worker(_) => "Worker::start",
    };
    if said_hello {
        format!("{hook} did not finish within its start timeout and was killed")
    } else {
        format!(
            "it did not get as far as {hook} within its start timeout and was killed: look at the disk that it is \
             loaded from, and at what `main` does before `App::run`"
        )
    }
}

/// The successor holds the seat from now on.
fn take_over(place: &mut Place) {
    let newer = place.successor.as_ref().map(|s| s.generation);
    let Some(occupant) = &place.occupant else {
        place.occupant = place.successor.take();
        return;
    };
    let worn = occupant.worn.clone();
    let same = newer == Some(occupant.generation);
    place.dismiss_occupant(
        if same {
            ExitKind::Recycled
        } else {
            ExitKind::Replaced
        },
        || match (worn, newer) {
            (Some(worn), _) if same => worn,
            (_, Some(generation)) => format!("a worker of generation {generation} took its place"),
            (_, None) => "another worker took its place".to_owned(),
        },
    );
}
