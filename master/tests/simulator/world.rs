//! The world around one supervisor: virtual time, model children, a shell without a system below it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use hatchery_master::supervisor::{Action, Death, Event, Now, Status, Supervisor};
use hatchery_protocol::id::{ChildId, Role, Seat};

use crate::child::{self, Act, Process, Script};
use crate::judge::{Judge, Verdict};
use crate::rng::Rng;
use crate::scenario::{Ending, Scenario};
use crate::tally::Tally;
use crate::trace::Trace;

/// No schedule needs nearly as many.
const MOST_STEPS: u64 = 50_000;

pub(crate) struct World<'t> {
    now: Now,
    rng: Rng,
    scenario: Scenario,
    supervisor: Supervisor,
    judge: Judge,
    /// Every process that exists, known to the supervisor or not.
    processes: BTreeMap<ChildId, Process>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    next_pid: u32,
    /// Gone processes, for those who speak of the dead.
    dead: Vec<ChildId>,
    calm: bool,
    actions: Vec<Action>,
    tally: Tally,
    trace: &'t mut Trace,
}

/// Ordered by time, then by when it was thought of.
struct Scheduled {
    at: Now,
    order: u64,
    what: Happening,
}

enum Happening {
    Deliver(Event),
    Perform {
        child: ChildId,
        script: u32,
        act: Act,
    },
    Rumour,
    Calm,
    /// Everything has to be well by now.
    Healed,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<'t> World<'t> {
    pub(crate) fn new(seed: u64, trace: &'t mut Trace) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng);
        trace.write(Now::ZERO, || format!("{:?}", scenario.policy));
        Self {
            now: Now::ZERO,
            supervisor: Supervisor::new(scenario.policy.clone()),
            judge: Judge::new(&scenario),
            rng,
            scenario,
            processes: BTreeMap::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            next_pid: 2,
            dead: Vec::new(),
            calm: false,
            actions: Vec::new(),
            tally: Tally::default(),
            trace,
        }
    }

    /// Lives the whole schedule.
    pub(crate) fn run(mut self) -> Result<Tally, String> {
        let begin = self.rng.up_to(Duration::from_millis(10));
        self.deliver(begin, Event::Started);
        for at in std::mem::take(&mut self.scenario.rumours) {
            self.schedule(at, Happening::Rumour);
        }
        match self.scenario.ending {
            Ending::Stop { at, at_once, again } => {
                self.deliver(at, stop(at_once));
                if let Some((after, at_once)) = again {
                    self.deliver(at + after, stop(at_once));
                }
            }
            Ending::Calm { at } => self.schedule(at, Happening::Calm),
        }
        while !self.judge.is_over() {
            self.step()?;
            if self.tally.steps > MOST_STEPS {
                return Err(format!("no end after {MOST_STEPS} steps"));
            }
        }
        if let Some(survivor) = self.processes.keys().next() {
            return Err(format!("the master left, {survivor} did not"));
        }
        self.after_the_end()?;
        self.judge.sum_up(&mut self.tally);
        Ok(self.tally)
    }

    /// The next thing that happens: in the world, or on the supervisor's own clock.
    fn step(&mut self) -> Verdict {
        let timer = self.supervisor.deadline().map(|at| at + self.scenario.pace.timer);
        let next = self.queue.peek().map(|Reverse(next)| next.at);
        match (timer, next) {
            (None, None) => Err("nothing is left to happen, and it is not over".to_owned()),
            (Some(timer), next) if next.is_none_or(|next| timer <= next) => {
                self.now = self.now.max(timer);
                self.tell_supervisor(Event::Tick)
            }
            _ => match self.queue.pop() {
                Some(Reverse(Scheduled { at, what, .. })) => {
                    self.now = at;
                    self.happen(what)
                }
                None => Ok(()),
            },
        }
    }

    fn happen(&mut self, what: Happening) -> Verdict {
        match what {
            Happening::Deliver(event) => return self.tell_supervisor(event),
            Happening::Perform { child, script, act } => {
                let current = self.processes.get(&child).map(|process| process.script);
                if current.is_some_and(|current| script >= current) {
                    self.act(child, act);
                }
            }
            Happening::Rumour => {
                let rumour = self.rumour();
                return self.tell_supervisor(rumour);
            }
            Happening::Calm => self.calm_down(),
            Happening::Healed => {
                self.judge.is_whole(self.now)?;
                self.tally.healed += 1;
                return self.tell_supervisor(stop(false));
            }
        }
        Ok(())
    }

    fn tell_supervisor(&mut self, event: Event) -> Verdict {
        self.tally.steps += 1;
        self.trace.write(self.now, || format!("{event:?}"));
        self.judge.hears(self.now, &event);
        let mut actions = std::mem::take(&mut self.actions);
        self.supervisor.handle(self.now, event, &mut actions);
        for action in &actions {
            self.trace.write(self.now, || format!("    {action:?}"));
        }
        self.judge.judges(self.now, &actions, &self.supervisor)?;
        for action in actions.drain(..) {
            self.perform(action)?;
        }
        self.actions = actions;
        Ok(())
    }

    /// What the shell would do.
    fn perform(&mut self, action: Action) -> Verdict {
        match action {
            Action::Spawn { child } => self.spawn(child)?,
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
            Action::EggReady { .. }
            | Action::Tell { .. }
            | Action::CloseListeners
            | Action::Record(_)
            | Action::Exit { .. } => {}
        }
        Ok(())
    }

    fn spawn(&mut self, child: ChildId) -> Verdict {
        if let Some(other) = self.processes.keys().find(|c| c.seat == child.seat) {
            return Err(format!("{child} is spawned while {other} lives"));
        }
        let born = self.now + self.rng.up_to(self.scenario.pace.spawn);
        if self.goes_wrong() && self.rng.chance(200) {
            let error = "no memory".to_owned();
            self.deliver(born, Event::SpawnFailed { child, error });
            self.dead.push(child);
            return Ok(());
        }
        let pid = self.pid();
        let process = Process {
            pid,
            delivered: born,
            script: 0,
            was_ready: false,
            spoiled: false,
            leaving: false,
        };
        self.processes.insert(child, process);
        self.deliver(born, Event::Spawned { child, pid });
        let script = if self.goes_wrong() {
            let limit = match child.seat.role() {
                Role::Agent => self.scenario.policy.agent_start_timeout,
                Role::Worker | Role::Master => self.scenario.policy.worker_start_timeout,
            };
            child::bad_boot(&mut self.rng, &self.scenario.pace, limit)
        } else {
            child::good_boot(&mut self.rng, &self.scenario.pace)
        };
        self.follow(child, born, script);
        Ok(())
    }

    /// Pids are small and come again, as those of the system do; two at a time they never are.
    fn pid(&mut self) -> u32 {
        loop {
            self.next_pid = 2 + self.next_pid % 30;
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

    fn follow(&mut self, child: ChildId, mut at: Now, acts: Script) {
        let script = self.processes.get(&child).map_or(0, |p| p.script);
        for (after, act) in acts {
            at += after;
            self.schedule(at, Happening::Perform { child, script, act });
        }
    }

    fn act(&mut self, child: ChildId, act: Act) {
        let bad = self.goes_wrong();
        let Some(process) = self.processes.get_mut(&child) else {
            return;
        };
        let event = match act {
            Act::SayReady => {
                let first = !std::mem::replace(&mut process.was_ready, true);
                process.spoiled |= !first;
                if first && bad {
                    let script = child::bad_life(&mut self.rng);
                    self.follow(child, self.now, script);
                }
                Event::Ready { child }
            }
            Act::SayFailed => {
                process.spoiled = true;
                let message = "a hook failed".to_owned();
                Event::HookFailed { child, message }
            }
            Act::BreakLink => {
                process.spoiled = true;
                let reason = "nonsense".to_owned();
                Event::LinkBroken { child, reason }
            }
            Act::Die(status) => {
                let death = Death {
                    status,
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

    /// What a child did reaches the supervisor later, but in order; what others did may overtake it.
    fn report(&mut self, child: ChildId, event: Event) {
        let Some(process) = self.processes.get_mut(&child) else {
            return;
        };
        let delay = self.scenario.pace.delivery;
        let at = (self.now + self.rng.up_to(delay)).max(process.delivered);
        let echo = (!self.calm && self.rng.chance(self.scenario.echoes))
            .then(|| at + self.rng.up_to(delay));
        process.delivered = echo.unwrap_or(at);
        if let Some(again) = echo {
            self.deliver(again, event.clone());
        }
        self.deliver(at, event);
    }

    /// Somebody speaks of the dead, of strangers, or out of turn.
    fn rumour(&mut self) -> Event {
        let stranger = ChildId {
            seat: Seat::Worker(u32::try_from(self.rng.below(15)).unwrap_or(0)),
            incarnation: u64::MAX,
        };
        let child = self.rng.pick(&self.dead, stranger);
        match self.rng.below(9) {
            0 => Event::Spawned { child, pid: 1 },
            1 => Event::Ready { child },
            2 => Event::HookFailed {
                child,
                message: "a rumour".to_owned(),
            },
            3 => Event::LinkBroken {
                child,
                reason: "a rumour".to_owned(),
            },
            4 => Event::Started,
            5 if self.judge.knows_whether_it_listens() => Event::Listening,
            6 if self.judge.knows_whether_it_listens() => Event::ListenFailed {
                error: "a rumour".to_owned(),
            },
            _ => Event::Tick,
        }
    }

    /// From here on everybody who has not done wrong yet never will.
    fn calm_down(&mut self) {
        if !self.judge.serves() {
            self.schedule(self.now + Duration::from_secs(1), Happening::Calm);
            return;
        }
        self.trace.write(self.now, || "calm".to_owned());
        self.calm = true;
        let innocent = |process: &Process| !process.spoiled && !process.leaving;
        let children: Vec<_> = self.processes.iter().filter(|(_, p)| innocent(p)).map(|(c, _)| *c).collect();
        for child in children {
            if let Some(process) = self.processes.get_mut(&child) {
                process.script += 1;
                if !process.was_ready {
                    let at = self.now.max(process.delivered);
                    let script = child::good_boot(&mut self.rng, &self.scenario.pace);
                    self.follow(child, at, script);
                }
            }
        }
        let healed = self.now + self.judge.longest_recovery();
        self.schedule(healed, Happening::Healed);
    }

    fn goes_wrong(&mut self) -> bool {
        let faults = if self.judge.is_starting() {
            self.scenario.start_faults
        } else {
            self.scenario.faults
        };
        self.rng.chance(faults) && !self.calm
    }

    /// What was under way when the master left meets nobody.
    fn after_the_end(&mut self) -> Verdict {
        let mut late = vec![Event::Tick, Event::Started, stop(false), stop(true)];
        while let Some(Reverse(next)) = self.queue.pop() {
            if let Happening::Deliver(event) = next.what {
                late.push(event);
            }
        }
        for event in late {
            self.supervisor.handle(self.now, event, &mut self.actions);
        }
        if let Some(action) = self.actions.first() {
            return Err(format!("{action:?} after the end"));
        }
        match self.supervisor.deadline() {
            Some(deadline) => Err(format!("a deadline after the end: {deadline:?}")),
            None => Ok(()),
        }
    }

    fn deliver(&mut self, at: Now, event: Event) {
        self.schedule(at, Happening::Deliver(event));
    }

    fn schedule(&mut self, at: Now, what: Happening) {
        self.scheduled += 1;
        let order = self.scheduled;
        self.queue.push(Reverse(Scheduled { at, order, what }));
    }
}

fn stop(at_once: bool) -> Event {
    let origin = "somebody".to_owned();
    Event::StopRequested { origin, at_once }
}
