//! Random lives of a schedule, over many agents, with what has to hold in each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use hatchery_protocol::schedule::{Command, Outcome, ScheduleStatus};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::{Action, Begin, Book, Event};
use crate::schedule::plan::check;
use crate::schedule::tick::Moment;
use crate::schedule::{Missed, Overlap, Schedule};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Time passes, in milliseconds.
    Pass(u64),
    /// The wall clock is set, by less than a correction.
    Set(i64),
    /// The oldest run ends.
    End,
    /// The worker of the oldest run dies.
    Lose,
    Ask(Command),
    /// The agent stands down, and another one takes over.
    HandOver(Gap),
    /// The agent dies, and with it all that it has not told.
    Die(Gap),
}

/// Between two agents.
#[derive(Debug, Clone, Copy)]
struct Gap {
    ms: u64,
    /// Whether the oldest run ends meanwhile.
    ends: bool,
}

fn gap() -> impl Strategy<Value = Gap> {
    (0..90_000_u64, any::<bool>()).prop_map(|(ms, ends)| Gap { ms, ends })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..90_000_u64).prop_map(Step::Pass),
        1 => (-3_600_000..3_600_000_i64).prop_map(Step::Set),
        5 => Just(Step::End),
        1 => Just(Step::Lose),
        1 => prop_oneof![Just(Command::Run), Just(Command::Enable), Just(Command::Disable)].prop_map(Step::Ask),
        1 => gap().prop_map(Step::HandOver),
        1 => gap().prop_map(Step::Die),
    ];
    proptest::collection::vec(step, 1..120)
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let rhythm = prop_oneof![
        Just(Schedule::cron("a", "*/20 * * * * *")),
        Just(Schedule::cron("a", "30 * * * *").zone("Europe/Berlin")),
        Just(Schedule::every("a", Duration::from_secs(7))),
        Just(Schedule::at_start("a")),
    ];
    let overlap = prop_oneof![
        Just(Overlap::Skip),
        Just(Overlap::Queue),
        Just(Overlap::Allow)
    ];
    let missed = prop_oneof![Just(Missed::Once), Just(Missed::Skip)];
    let flags = (any::<bool>(), any::<bool>());
    (rhythm, overlap, missed, flags, 0..3_u64).prop_map(
        |(schedule, overlap, missed, (immediate, retry), jitter)| {
            let mut schedule = schedule.overlap(overlap).missed(missed);
            if immediate {
                schedule = schedule.immediate();
            }
            if retry {
                schedule = schedule.retry_lost();
            }
            schedule.jitter(Duration::from_secs(jitter))
        },
    )
}

/// A schedule with all its agents, and what they told.
struct Life {
    schedule: Schedule,
    now: Moment,
    book: Book,
    /// The last that was told.
    told: ScheduleStatus,
    /// What goes on in workers, whoever has begun it, oldest first.
    going_on: Vec<u64>,
    /// What the present agent has begun.
    own: BTreeSet<u64>,
    /// What it asks workers for.
    followed: BTreeSet<u64>,
    /// What was tried again.
    again: BTreeSet<u64>,
    /// Every run ever begun.
    numbers: BTreeSet<u64>,
    /// The times of all runs that a time began.
    times: BTreeSet<u64>,
    orders: u64,
    answered: BTreeSet<u64>,
}

impl Life {
    fn new(schedule: Schedule) -> Self {
        // An hour before Berlin puts its clocks back.
        let now = Moment {
            wall: "2026-10-25T00:00:00Z".parse().unwrap(),
            boot: Duration::from_secs(1_000_000),
        };
        let plans = check(vec![schedule.clone()], now.wall).unwrap();
        let mut out = Vec::new();
        let book = Book::open(now, plans, &[], 1, &mut out);
        let mut life = Self {
            schedule,
            now,
            told: book.status(0).unwrap(),
            book,
            going_on: Vec::new(),
            own: BTreeSet::new(),
            followed: BTreeSet::new(),
            again: BTreeSet::new(),
            numbers: BTreeSet::new(),
            times: BTreeSet::new(),
            orders: 0,
            answered: BTreeSet::new(),
        };
        life.perform(out);
        life
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.book.handle(self.now, event, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Changed(_) => self.told = self.book.status(0).unwrap(),
                Action::Begin(begin) => self.begin(begin),
                Action::Claim(_) => panic!("a schedule of this host alone"),
                Action::Follow { number, .. } => {
                    assert!(self.numbers.contains(&number), "never begun");
                    assert!(self.followed.insert(number), "followed twice");
                }
                Action::Answer { order, .. } => {
                    assert!(self.answered.insert(order), "answered twice");
                }
            }
        }
        let limit = match self.schedule.overlap {
            Overlap::Skip | Overlap::Queue => 1,
            Overlap::Allow => usize::MAX,
        };
        assert!(self.going_on.len() <= limit, "side by side");
    }

    fn begin(&mut self, begin: Begin) {
        use hatchery_protocol::schedule::Cause;
        assert!(
            self.told
                .running
                .iter()
                .any(|run| run.number == begin.number),
            "a run has begun that the next agent would not know of"
        );
        self.going_on.push(begin.number);
        self.own.insert(begin.number);
        if begin.attempt > 1 {
            assert!(self.numbers.contains(&begin.number), "no first try");
            assert!(self.again.insert(begin.number), "a third try");
            return;
        }
        assert!(self.numbers.insert(begin.number), "a number twice");
        let from_a_time = match begin.cause {
            Cause::Due => true,
            // What waited for its turn when an agent left has no time of its own.
            Cause::Missed => begin.due_ms != super::super::tick::wall_ms(self.now.wall),
            Cause::Start => {
                assert_eq!(begin.number, 1, "a start in the middle");
                false
            }
            Cause::Asked => false,
        };
        // Intervals have no times on the wall clock, which is set here.
        if from_a_time && matches!(self.schedule.rhythm, super::super::spec::Rhythm::Cron(_)) {
            assert!(self.times.insert(begin.due_ms), "a time twice");
        }
    }

    fn pass(&mut self, ms: u64) {
        let time = Duration::from_millis(ms);
        self.now.boot += time;
        self.now.wall += time;
    }

    /// The oldest run ends so.
    fn end(&mut self, outcome: Outcome) {
        if self.going_on.is_empty() {
            return;
        }
        let number = self.going_on.remove(0);
        if self.own.contains(&number) {
            let schedule = 0;
            self.event(Event::Ended {
                schedule,
                number,
                outcome,
            });
        } else {
            self.tell_of(number, outcome);
        }
    }

    /// A worker answers who follows.
    fn tell_of(&mut self, number: u64, outcome: Outcome) {
        let name = "a".to_owned();
        self.event(Event::Followed {
            name,
            number,
            outcome,
        });
    }

    fn next_agent(&mut self, gap: Gap) {
        self.pass(gap.ms);
        if gap.ends && !self.going_on.is_empty() {
            self.going_on.remove(0);
        }
        self.own.clear();
        self.followed.clear();
        let plans = check(vec![self.schedule.clone()], self.now.wall).unwrap();
        let mut out = Vec::new();
        let known = [self.told.clone()];
        self.book = Book::open(self.now, plans, &known, 1, &mut out);
        assert!(self.book.status(0).unwrap().runs >= known[0].runs);
        self.perform(out);
        for number in &self.going_on {
            let known = self.own.contains(number) || self.followed.contains(number);
            assert!(known, "nobody hears of its end");
        }
        let ended = self.followed.iter().filter(|n| !self.going_on.contains(n));
        for number in ended.copied().collect::<Vec<_>>() {
            self.tell_of(number, Outcome::Succeeded);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(ms) => {
                self.pass(ms);
                self.event(Event::Time);
            }
            Step::Set(ms) => {
                self.now.wall += SignedDuration::from_millis(ms);
                self.event(Event::Time);
            }
            Step::End => self.end(Outcome::Succeeded),
            Step::Lose => self.end(Outcome::lost("its worker died")),
            Step::Ask(command) => {
                self.orders += 1;
                let order = self.orders;
                let name = "a".to_owned();
                self.event(Event::Asked {
                    name,
                    command,
                    order,
                });
            }
            Step::HandOver(gap) => {
                self.event(Event::Close);
                let closed = self.numbers.len();
                self.pass(gap.ms);
                self.event(Event::Time);
                assert_eq!(self.numbers.len(), closed, "begun by a closed book");
                assert_eq!(self.answered.len() as u64, self.orders, "unanswered");
                self.next_agent(Gap { ms: 0, ..gap });
            }
            Step::Die(gap) => {
                // Who waits for it hears of the death from the master.
                self.answered = (1..=self.orders).collect();
                self.next_agent(gap);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Never twice, never side by side unless allowed, whoever has begun the other one, never begun by who is closed, always told first, and nothing
    /// lost: once enabled and idle, a time that comes begins a run.
    #[test]
    fn a_time_runs_once(schedule in schedules(), steps in steps()) {
        let mut life = Life::new(schedule);
        for step in steps {
            life.step(step);
        }
        // Whatever has been, it goes on.
        while !life.going_on.is_empty() {
            life.step(Step::End);
        }
        life.step(Step::Ask(Command::Enable));
        if !matches!(life.schedule.rhythm, super::super::spec::Rhythm::AtStart) {
            let rest = life.book.rest(life.now).expect("there is a next time");
            let before = life.numbers.len();
            life.step(Step::Pass(u64::try_from(rest.as_millis()).unwrap() + 1));
            prop_assert_eq!(life.numbers.len(), before + 1);
        }
    }
}
