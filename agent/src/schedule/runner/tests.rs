//! Runs on workers that do what the test says, with the clock paused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hatchery_protocol::schedule::{Cause, Running};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::*;
use crate::schedule::Schedule;
use crate::schedule::plan::check;

const S: Duration = Duration::from_secs(1);

/// What a worker makes of a job.
#[derive(Debug, Clone)]
enum Deed {
    /// Nobody is there.
    Nobody,
    /// It takes a while, and ends so.
    Ends(Duration, Outcome),
}

/// Clocks, master and workers of a test.
#[derive(Debug)]
struct Stage {
    /// What the wall clock said then.
    start: Timestamp,
    begun: Instant,
    /// By how much the wall clock was set, in milliseconds.
    step: Mutex<i64>,
    set: Notify,
    deeds: Mutex<VecDeque<Deed>>,
    orders: Mutex<Vec<Order>>,
    /// What workers tell of runs of an agent before.
    ends: Mutex<Vec<(Slot, Outcome)>>,
    reports: Mutex<Vec<ScheduleStatus>>,
    answers: Mutex<Vec<(u64, Result<(), String>)>>,
}

impl Stage {
    fn new(deeds: impl IntoIterator<Item = Deed>) -> Arc<Self> {
        Self::at("2026-11-21T12:00:00Z", deeds)
    }

    fn at(start: &str, deeds: impl IntoIterator<Item = Deed>) -> Arc<Self> {
        Arc::new(Self {
            start: start.parse().unwrap(),
            begun: Instant::now(),
            step: Mutex::new(0),
            set: Notify::new(),
            deeds: Mutex::new(deeds.into_iter().collect()),
            orders: Mutex::default(),
            ends: Mutex::default(),
            reports: Mutex::default(),
            answers: Mutex::default(),
        })
    }

    fn run(self: &Arc<Self>, schedule: Schedule) -> Runner {
        self.take_over(schedule, &[])
    }

    fn take_over(self: &Arc<Self>, schedule: Schedule, known: &[ScheduleStatus]) -> Runner {
        let plans = check(vec![schedule], World::now(self).wall).unwrap();
        Runner::start(Arc::clone(self), plans, known, 1)
    }

    fn set_clock(&self, ms: i64) {
        *self.step.lock().unwrap() += ms;
        self.set.notify_one();
    }

    fn attempts(&self) -> Vec<(u64, u32)> {
        let orders = self.orders.lock().unwrap();
        orders.iter().map(|o| (o.number, o.attempt)).collect()
    }

    fn last(&self) -> ScheduleStatus {
        self.reports.lock().unwrap().last().unwrap().clone()
    }

    fn outcome(&self) -> Outcome {
        self.last().history.first().unwrap().outcome.clone()
    }
}

impl World for Arc<Stage> {
    fn now(&self) -> Moment {
        let passed = self.begun.elapsed();
        let step = jiff::SignedDuration::from_millis(*self.step.lock().unwrap());
        Moment {
            wall: self.start + passed + step,
            boot: 1000 * S + passed,
        }
    }

    fn clock_set(&self) -> Later<()> {
        let stage = Arc::clone(self);
        Box::pin(async move { stage.set.notified().await })
    }

    fn report(&self, status: ScheduleStatus) {
        self.reports.lock().unwrap().push(status);
    }

    fn answer(&self, order: u64, result: Result<(), String>) {
        self.answers.lock().unwrap().push((order, result));
    }

    fn on_one(&self, order: Order) -> Later<Option<Outcome>> {
        let deed = self.deeds.lock().unwrap().pop_front();
        if !matches!(deed, Some(Deed::Nobody)) {
            self.orders.lock().unwrap().push(order);
        }
        Box::pin(async move {
            match deed {
                Some(Deed::Nobody) => None,
                Some(Deed::Ends(after, outcome)) => {
                    tokio::time::sleep(after).await;
                    Some(outcome)
                }
                None => Some(Outcome::Succeeded),
            }
        })
    }

    fn on_all(&self, order: Order) -> Later<Vec<(Slot, Outcome)>> {
        self.orders.lock().unwrap().push(order);
        let deeds = std::mem::take(&mut *self.deeds.lock().unwrap());
        let ends = deeds.into_iter().filter_map(|deed| match deed {
            Deed::Nobody => None,
            Deed::Ends(_, outcome) => Some(outcome),
        });
        let outcomes = (0..).zip(ends).collect();
        Box::pin(std::future::ready(outcomes))
    }

    fn follow(&self, run: Followed) -> Later<Vec<(Slot, Outcome)>> {
        assert_eq!((run.schedule.as_str(), run.number), ("a", 1));
        let ends = std::mem::take(&mut *self.ends.lock().unwrap());
        Box::pin(async move {
            tokio::time::sleep(3 * S).await;
            ends
        })
    }
}

fn ends(after: Duration, outcome: Outcome) -> Deed {
    Deed::Ends(after, outcome)
}

fn every() -> Schedule {
    Schedule::every("a", 10 * S)
}

/// Lets every task do what it can, at this very moment.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_is_told_before_it_begins_and_after_it_ended() {
    let stage = Stage::new([ends(3 * S, Outcome::Succeeded)]);
    let _runner = stage.run(every());
    tokio::time::sleep(10 * S).await;
    settle().await;
    assert_eq!(stage.attempts(), [(1, 1)]);
    assert_eq!(stage.last().running.len(), 1);
    tokio::time::sleep(3 * S).await;
    assert_eq!(stage.last().running.len(), 0);
    assert_eq!(stage.outcome(), Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_worker_died_is_tried_once_more_if_asked() {
    let lost = || ends(S, Outcome::lost("worker 1 died"));
    let done = || ends(S, Outcome::Succeeded);
    let cases = [
        (
            every(),
            vec![lost(), done()],
            vec![(1, 1)],
            Outcome::lost("worker 1 died"),
        ),
        (
            every().retry_lost(),
            vec![lost(), done()],
            vec![(1, 1), (1, 2)],
            Outcome::Succeeded,
        ),
        (
            every().retry_lost(),
            vec![lost(), lost(), done()],
            vec![(1, 1), (1, 2)],
            Outcome::lost("worker 1 died"),
        ),
        // What failed by itself is not tried again.
        (
            every().retry_lost(),
            vec![ends(S, Outcome::failed("no")), done()],
            vec![(1, 1)],
            Outcome::failed("no"),
        ),
    ];
    for (schedule, deeds, attempts, outcome) in cases {
        let stage = Stage::new(deeds);
        let _runner = stage.run(schedule);
        tokio::time::sleep(15 * S).await;
        assert_eq!(stage.attempts(), attempts);
        assert_eq!(stage.outcome(), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_worker_and_not_for_ever() {
    let stage = Stage::new(vec![Deed::Nobody; 20]);
    let _runner = stage.run(every());
    tokio::time::sleep(11 * S).await;
    assert_eq!(stage.attempts(), []);
    tokio::time::sleep(2 * S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
    let stage = Stage::new(vec![Deed::Nobody; 1000]);
    let _runner = stage.run(every());
    tokio::time::sleep(45 * S).await;
    assert_eq!(stage.outcome(), Outcome::failed("no worker was ready"));
}

#[tokio::test(start_paused = true)]
async fn all_workers_have_one_outcome() {
    let good = || ends(S, Outcome::Succeeded);
    let cases = [
        (vec![good(), good()], Outcome::Succeeded),
        (vec![], Outcome::failed("no worker was ready")),
        (
            vec![
                good(),
                ends(S, Outcome::failed("no disk")),
                ends(S, Outcome::TimedOut),
            ],
            Outcome::failed("2 of 3 workers, the first of them worker 1: failed: no disk"),
        ),
    ];
    for (deeds, outcome) in cases {
        let stage = Stage::new(deeds);
        let _runner = stage.run(every().on_all_workers());
        tokio::time::sleep(11 * S).await;
        assert_eq!(stage.outcome(), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sets_the_clock_is_noticed_at_once() {
    let stage = Stage::new([]);
    let _runner = stage.run(Schedule::cron("a", "0 13 * * *"));
    settle().await;
    stage.set_clock(3_599_000);
    settle().await;
    assert_eq!(stage.attempts(), []);
    tokio::time::sleep(S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
    stage.set_clock(-3_600_000);
    tokio::time::sleep(3700 * S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_hears_of_the_end_of_a_run() {
    let stage = Stage::new([ends(3 * S, Outcome::TimedOut)]);
    let runner = stage.run(every().disabled());
    let asked = Event::Asked {
        name: "a".to_owned(),
        command: hatchery_protocol::schedule::Command::Run,
        order: 7,
    };
    runner.teller().send(asked).unwrap();
    tokio::time::sleep(2 * S).await;
    assert_eq!(stage.answers.lock().unwrap().len(), 0);
    tokio::time::sleep(2 * S).await;
    let answers = stage.answers.lock().unwrap().clone();
    assert_eq!(answers, [(7, Err("run 1 of `a` timed out".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_what_runs_here_and_begins_nothing() {
    // (how long the job takes, whether it listens, how long closing takes, how it ended)
    let cases = [
        (S, false, S, Outcome::Succeeded),
        (
            60 * S,
            true,
            Duration::ZERO,
            Outcome::failed("asked to end"),
        ),
        (60 * S, false, 2 * S, Outcome::Unobserved),
    ];
    for (takes, listens, closing, outcome) in cases {
        let begun = Arc::new(AtomicUsize::new(0));
        let stage = Stage::new([]);
        let count = Arc::clone(&begun);
        let mut runner = stage.run(every().in_agent(move |job| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::select! {
                    () = tokio::time::sleep(takes) => Ok(()),
                    () = job.closing().cancelled(), if listens => Err("asked to end".into()),
                }
            }
        }));
        tokio::time::sleep(10 * S).await;
        settle().await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        let before = Instant::now();
        runner.close(2 * S).await;
        assert!(
            before.elapsed().abs_diff(closing) < S / 50,
            "{:?}",
            before.elapsed()
        );
        assert_eq!(stage.outcome(), outcome);
        tokio::time::sleep(100 * S).await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_leaves_runs_on_workers_to_them() {
    let stage = Stage::new([ends(60 * S, Outcome::Succeeded)]);
    let mut runner = stage.run(every());
    tokio::time::sleep(11 * S).await;
    let before = Instant::now();
    runner.close(20 * S).await;
    assert!(before.elapsed() < S / 50);
    // The next agent will see that it began.
    assert_eq!(stage.last().running.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_of_the_agent_before_is_that_of_who_knows_it() {
    let lost = || Outcome::lost("worker 1 died");
    let cases = [
        (every(), vec![], Outcome::Unobserved),
        (
            every(),
            vec![(0, Outcome::Succeeded), (1, lost())],
            Outcome::Succeeded,
        ),
        (every(), vec![(1, lost())], lost()),
        (
            every().on_all_workers(),
            vec![(0, Outcome::Succeeded), (1, Outcome::TimedOut)],
            Outcome::failed(
                "1 of 2 workers, the first of them worker 1: timed out: no reason is known",
            ),
        ),
    ];
    for (schedule, ends, outcome) in cases {
        let stage = Stage::new([]);
        let running = Running {
            number: 1,
            cause: Cause::Due,
            started_ms: 0,
            attempt: 1,
            elsewhere: false,
        };
        let known = ScheduleStatus {
            name: "a".to_owned(),
            running: vec![running],
            ..ScheduleStatus::default()
        };
        *stage.ends.lock().unwrap() = ends;
        let _next = stage.take_over(schedule, &[known]);
        tokio::time::sleep(2 * S).await;
        assert_eq!(stage.last().running.len(), 1, "it goes on");
        tokio::time::sleep(2 * S).await;
        assert_eq!(stage.outcome(), outcome);
    }
}

/// Through the night in which Berlin puts its clocks back, with the clock set in the middle of it.
#[tokio::test(start_paused = true)]
async fn daylight_saving_and_a_step_of_the_clock_cost_no_run_and_double_none() {
    // 00:30 UTC; at 01:00 UTC it is 02:00 in Berlin for the second time.
    let stage = Stage::at("2026-10-25T00:10:00Z", []);
    let _runner = stage.run(Schedule::cron("a", "30 2 * * *").zone("Europe/Berlin"));
    tokio::time::sleep(1201 * S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
    // Half an hour back: the same 02:30 comes again, and then the second one.
    stage.set_clock(-1_800_000);
    tokio::time::sleep(3 * 3600 * S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
    tokio::time::sleep(24 * 3600 * S).await;
    assert_eq!(stage.attempts(), [(1, 1), (2, 1)]);
    // 2027-03-28: 02:30 does not exist, and is run at 03:00, which is 01:00 UTC.
    let stage = Stage::at("2027-03-28T00:50:00Z", []);
    let _runner = stage.run(Schedule::cron("a", "30 2 * * *").zone("Europe/Berlin"));
    tokio::time::sleep(599 * S).await;
    assert_eq!(stage.attempts(), []);
    tokio::time::sleep(2 * S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
    tokio::time::sleep(3 * 3600 * S).await;
    assert_eq!(stage.attempts(), [(1, 1)]);
}
