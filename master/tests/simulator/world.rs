//! The world around one supervisor: virtual time, model children, a shell without a system below it.

use std::collections::BTreeMap;
use std::time::Duration;

use hatchery_master::supervisor::{Action, Event, Now, Order, SuccessorNews, Supervisor};
use hatchery_protocol::id::{ChildId, Seat};

use crate::agenda::Agenda;
use crate::child::{self, Act, Process};
use crate::judge::Judge;
use crate::operators;
use crate::rng::Rng;
use crate::scenario::{BEAT, Ending, Scenario, Wish};
use crate::tally::Tally;
use crate::trace::Trace;
use crate::verdict::Verdict;

/// No schedule needs nearly as many.
const MOST_STEPS: u64 = 50_000;

pub(crate) struct World<'t> {
    pub(super) now: Now,
    pub(super) rng: Rng,
    pub(super) scenario: Scenario,
    supervisor: Supervisor,
    pub(super) judge: Judge,
    /// Every process that exists, known to the supervisor or not.
    pub(super) processes: BTreeMap<ChildId, Process>,
    agenda: Agenda<Happening>,
    pub(super) next_pid: u32,
    /// Gone processes, for those who speak of the dead.
    pub(super) dead: Vec<ChildId>,
    pub(super) calm: bool,
    /// How many executables were opened, and which of them are bad.
    pub(super) builds: u64,
    pub(super) bad_builds: Vec<u64>,
    /// How many new masters were started, how many of them are gone, which one may serve.
    pub(super) masters: u64,
    pub(super) masters_gone: u64,
    pub(super) committed: u64,
    actions: Vec<Action>,
    tally: Tally,
    trace: &'t mut Trace,
}

pub(crate) enum Happening {
    Deliver(Event),
    Perform {
        child: ChildId,
        script: u32,
        act: Act,
    },
    Rumour,
    Wish(Order, Wish),
    OfSuccessor(u64, SuccessorNews),
    SuccessorGone(u64),
    /// A new master that did not get anywhere is ended by somebody.
    SuccessorStuck(u64),
    Calm,
    /// Everything has to be well by now.
    Healed,
}

impl<'t> World<'t> {
    pub(crate) fn new(seed: u64, trace: &'t mut Trace) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng, &mut Rng::new(!seed));
        trace.write(Now::ZERO, || format!("{:?}", scenario.policy));
        trace.write(Now::ZERO, || format!("{:?}", scenario.other));
        Self {
            now: Now::ZERO,
            supervisor: Supervisor::new(scenario.policy.clone()),
            judge: Judge::new(&scenario),
            rng,
            scenario,
            processes: BTreeMap::new(),
            agenda: Agenda::new(),
            next_pid: 2,
            dead: Vec::new(),
            calm: false,
            builds: 1,
            bad_builds: Vec::new(),
            masters: 0,
            masters_gone: 0,
            committed: 0,
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
        let wishes = std::mem::take(&mut self.scenario.wishes);
        for (order, (at, wish)) in (1..).zip(wishes) {
            self.schedule(at, Happening::Wish(order, wish));
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
        let mut steps = 0;
        while !self.judge.is_over() {
            self.step()?;
            steps += 1;
            if steps > MOST_STEPS {
                return Err(format!("no end after {MOST_STEPS} steps"));
            }
        }
        if self.masters > self.masters_gone && !self.judge.handed_over() {
            return Err("the master left, the new one did not".to_owned());
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
        let timer = self
            .supervisor
            .deadline()
            .map(|at| at + self.scenario.pace.timer);
        let next = self.agenda.next_at();
        match (timer, next) {
            (None, None) => Err("nothing is left to happen, and it is not over".to_owned()),
            (Some(timer), next) if next.is_none_or(|next| timer <= next) => {
                self.now = self.now.max(timer);
                self.tell_supervisor(Event::Tick)
            }
            _ => match self.agenda.next() {
                Some((at, what)) => {
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
            Happening::Wish(order, wish) => {
                if !self.calm {
                    let wish = operators::wish(order, wish);
                    return self.tell_supervisor(wish);
                }
            }
            Happening::OfSuccessor(which, news) => {
                if let Some(event) = self.successor_says(which, news) {
                    return self.tell_supervisor(event);
                }
            }
            Happening::SuccessorGone(which) => {
                if let Some(event) = self.successor_goes(which) {
                    return self.tell_supervisor(event);
                }
            }
            Happening::SuccessorStuck(which) => {
                if self.committed < which
                    && let Some(event) = self.successor_goes(which)
                {
                    return self.tell_supervisor(event);
                }
            }
            Happening::Calm => self.calm_down(),
            // It gave up, as it was told to.
            Happening::Healed if self.judge.stops_for_a_crash_loop() => {}
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
        for action in &actions {
            self.perform(action);
        }
        actions.clear();
        self.actions = actions;
        Ok(())
    }

    /// Somebody speaks of the dead, of strangers, or out of turn.
    fn rumour(&mut self) -> Event {
        let stranger = ChildId {
            seat: Seat::Worker(u32::try_from(self.rng.below(15)).unwrap_or(0)),
            incarnation: u64::MAX,
        };
        let child = self.rng.pick(&self.dead, stranger);
        match self.rng.below(18) {
            9 => Event::Beat {
                child,
                runtime_age: Duration::from_secs(100),
                requests: u64::MAX,
            },
            10 => Event::Memory {
                child,
                bytes: u64::MAX,
            },
            11 => Event::Traced { child },
            12 if !self.calm => Event::Suspended,
            13 => Event::StoodDown { child },
            14 => Event::Staged {
                order: u64::MAX,
                policy: Box::default(),
            },
            15 => Event::SlotsReady { slots: u32::MAX },
            16 => Event::SlotsFailed {
                slots: u32::MAX,
                error: "a rumour".to_owned(),
            },
            0 => Event::Spawned { child, pid: 1 },
            1 => Event::Ready { child },
            2 => Event::HookFailed {
                child,
                message: "a rumour".to_owned(),
                timed_out: true,
            },
            3 => Event::LinkBroken {
                child,
                reason: "a rumour".to_owned(),
            },
            4 => Event::Started,
            5 if !self.judge.is_starting() => Event::Listening,
            6 if !self.judge.is_starting() => Event::ListenFailed {
                error: "a rumour".to_owned(),
            },
            7 => Event::ListenersClosed,
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
        let children: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, p)| innocent(p))
            .map(|(c, _)| *c)
            .collect();
        for child in children {
            if let Some(process) = self.processes.get_mut(&child) {
                process.script += 1;
                if process.was_ready {
                    if self.scenario.beats() {
                        let beat = vec![(BEAT, child::Act::Beat)];
                        self.follow(child, self.now, beat);
                    }
                } else {
                    let at = self.now.max(process.delivered);
                    let script = child::good_boot(&mut self.rng, &self.scenario.pace);
                    self.follow(child, at, script);
                }
            }
        }
        let healed = self.now + self.judge.longest_recovery();
        self.schedule(healed, Happening::Healed);
    }

    /// What was under way when the master left meets nobody.
    fn after_the_end(&mut self) -> Verdict {
        let mut late = vec![Event::Tick, Event::Started, stop(false), stop(true)];
        while let Some((_, what)) = self.agenda.next() {
            if let Happening::Deliver(event) = what {
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

    pub(super) fn deliver(&mut self, at: Now, event: Event) {
        self.schedule(at, Happening::Deliver(event));
    }

    pub(super) fn schedule(&mut self, at: Now, what: Happening) {
        self.agenda.write(at, what);
    }
}

fn stop(at_once: bool) -> Event {
    let origin = "somebody".to_owned();
    Event::StopRequested { origin, at_once }
}
