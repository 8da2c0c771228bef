//! What the shell would do, with model children where there is a system else.

use hatchery_master::supervisor::{Action, Death, Event, Now};
use hatchery_protocol::id::{ChildId, Generation, Role};

use crate::child::{self, Act, Process, Script};
use crate::known::LAST_CALL;
use crate::rng::Rng;
use crate::scenario::{BEAT, Scenario};
use crate::world::{Happening, World};

impl World<'_> {
    /// What the shell would do.
    pub(super) fn perform(&mut self, action: &Action) {
        match action.clone() {
            Action::Spawn { child, generation } => self.spawn(child, generation),
            Action::Listen => {
                let after = self.rng.up_to(self.scenario.pace.delivery);
                let answer = if self.rng.chance(20) && !self.calm {
                    let error = "address in use".to_owned();
                    Event::ListenFailed { error }
                } else {
                    Event::Listening
                };
                self.deliver(self.now + after, answer);
            }
            Action::Drain { child, budget } => {
                let bad = self.goes_wrong();
                self.leave(child, |rng, scenario| {
                    if bad {
                        child::bad_farewell(rng, &scenario.policy, budget)
                    } else {
                        child::good_farewell(rng, budget)
                    }
                });
            }
            Action::Kill { child } => {
                self.leave(child, |rng, scenario| child::killed(rng, &scenario.pace));
            }
            Action::EggReady { child } => {
                if self.goes_wrong() {
                    let script = child::bad_life(&mut self.rng, &self.scenario.policy);
                    self.follow(child, self.now, script);
                }
            }
            Action::StandDown { child } => {
                let longest = self.scenario.policy.stand_down_timeout;
                if !self.goes_wrong() {
                    let after = self.rng.of_any_size(Now::ZERO, longest * 2);
                    self.follow(child, self.now, vec![(after, Act::StandDown)]);
                }
            }
            Action::CloseListeners | Action::HandOverListeners => {
                let slow = self.goes_wrong();
                let longest = if slow {
                    LAST_CALL * 3
                } else {
                    self.scenario.pace.delivery
                };
                let after = self.rng.up_to(longest);
                self.deliver(self.now + after, Event::ListenersClosed);
            }
            Action::Stage { order } => self.stage(order),
            Action::Slots { slots } => self.make_slots(slots),
            Action::LaunchSuccessor { .. } => self.launch_successor(),
            Action::Commit => self.commit_successor(),
            Action::EndSuccessor { at_once } => self.end_successor(at_once),
            Action::Tell { .. }
            | Action::Announce { .. }
            | Action::Adopt
            | Action::Unstage
            | Action::Diagnose { .. }
            | Action::Record(_)
            | Action::Finished { .. }
            | Action::Exit { .. } => {}
        }
    }

    fn spawn(&mut self, child: ChildId, generation: Generation) {
        let born = self.now + self.rng.up_to(self.scenario.pace.spawn);
        if self.goes_wrong() && self.rng.chance(200) {
            let error = "no memory".to_owned();
            return self.deliver(born, Event::SpawnFailed { child, error });
        }
        let pid = self.pid();
        let process = Process {
            pid,
            delivered: born,
            script: 0,
            was_ready: false,
            spoiled: false,
            leaving: false,
            hangs: None,
            requests: 0,
        };
        self.processes.insert(child, process);
        self.deliver(born, Event::Spawned { child, pid });
        // Not everybody comes so far, and it changes nothing but the words in which an end is told.
        if !child.incarnation.is_multiple_of(5) {
            self.deliver(born, Event::Hello { child });
        }
        let bad_build = self.bad_builds.contains(&generation) && self.rng.chance(300);
        let script = if self.goes_wrong() || bad_build && !self.calm {
            let limit = match child.seat.role() {
                Role::Agent => self.scenario.policy.agent_start_timeout,
                Role::Worker | Role::Master => self.scenario.policy.worker_start_timeout,
            };
            child::bad_boot(&mut self.rng, &self.scenario.pace, limit)
        } else {
            child::good_boot(&mut self.rng, &self.scenario.pace)
        };
        self.follow(child, born, script);
    }

    /// Pids are small and come again, as those of the system do; two at a time they never are.
    fn pid(&mut self) -> u32 {
        loop {
            self.next_pid = 2 + self.next_pid % 97;
            if self.processes.values().all(|p| p.pid != self.next_pid) {
                return self.next_pid;
            }
        }
    }

    /// Whatever it was about to do, it may still do: an order does not stop what is under way.
    fn leave(&mut self, child: ChildId, script: impl FnOnce(&mut Rng, &Scenario) -> Script) {
        if let Some(process) = self.processes.get_mut(&child) {
            process.leaving = true;
            let script = script(&mut self.rng, &self.scenario);
            self.follow(child, self.now, script);
        }
    }

    pub(super) fn follow(&mut self, child: ChildId, mut at: Now, acts: Script) {
        let script = self.processes.get(&child).map_or(0, |p| p.script);
        for (after, act) in acts {
            at += after;
            self.schedule(at, Happening::Perform { child, script, act });
        }
    }

    pub(super) fn act(&mut self, child: ChildId, act: Act) {
        let bad = self.rng.chance(self.scenario.start_faults) && !self.calm;
        let Some(process) = self.processes.get_mut(&child) else {
            return;
        };
        let event = match act {
            Act::SayReady => {
                let first = !std::mem::replace(&mut process.was_ready, true);
                process.spoiled |= !first;
                if first && bad {
                    let script = child::bad_life(&mut self.rng, &self.scenario.policy);
                    self.follow(child, self.now, script);
                }
                if first && self.scenario.beats() {
                    self.follow(child, self.now, vec![(BEAT, Act::Beat)]);
                }
                Event::Ready { child }
            }
            Act::SayFailed => {
                process.spoiled = true;
                let message = "a hook failed".to_owned();
                Event::HookFailed {
                    child,
                    message,
                    timed_out: child.incarnation.is_multiple_of(2),
                }
            }
            Act::BreakLink => {
                process.spoiled = true;
                let reason = "nonsense".to_owned();
                Event::LinkBroken { child, reason }
            }
            Act::Hang { frozen } => {
                process.spoiled = true;
                process.hangs = Some((self.now, frozen));
                return;
            }
            Act::StandDown => Event::StoodDown { child },
            Act::Beat => return self.beat(child),
            Act::Die(status) => {
                let death = Death {
                    status,
                    hint: None,
                    last_words: Vec::new(),
                };
                Event::Exited { child, death }
            }
        };
        self.report(child, event);
        if let Act::Die(_) = act {
            self.processes.remove(&child);
            self.dead.push(child);
        }
    }

    fn beat(&mut self, child: ChildId) {
        let served = self.rng.below(20);
        let bytes = self.rng.below(1000) + self.rng.below(1000) * self.rng.below(2);
        let Some(process) = self.processes.get_mut(&child) else {
            return;
        };
        process.requests += served;
        let requests = process.requests;
        let frozen = process.hangs.is_some_and(|(_, frozen)| frozen);
        let since = process.hangs.map_or(self.now, |(since, _)| since);
        self.follow(child, self.now, vec![(BEAT, Act::Beat)]);
        if !frozen {
            let runtime_age = self.now.saturating_sub(since);
            self.report(
                child,
                Event::Beat {
                    child,
                    runtime_age,
                    requests,
                },
            );
        }
        // Far too much is a fault, so only while there are faults.
        if !self.calm && self.rng.chance(100) {
            let bytes = if self.goes_wrong() { bytes * 2 } else { bytes };
            self.report(child, Event::Memory { child, bytes });
        }
    }

    /// What a child did reaches the supervisor later, but in order; what others did may overtake it.
    fn report(&mut self, child: ChildId, event: Event) {
        let Some(process) = self.processes.get_mut(&child) else {
            return;
        };
        let longest = self.scenario.pace.delivery;
        let at = (self.now + self.rng.up_to(longest)).max(process.delivered);
        let echo = (!self.calm && self.rng.chance(self.scenario.echoes))
            .then(|| (self.now + self.rng.up_to(longest)).max(at));
        process.delivered = echo.unwrap_or(at);
        if let Some(again) = echo {
            self.deliver(again, event.clone());
        }
        self.deliver(at, event);
    }

    pub(super) fn goes_wrong(&mut self) -> bool {
        let faults = if self.judge.is_starting() {
            self.scenario.start_faults
        } else {
            self.scenario.faults
        };
        self.rng.chance(faults) && !self.calm
    }
}
