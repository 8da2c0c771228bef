//! What one event costs the supervisor, and what one slot weighs, from a hundred slots to ten thousand.
//!
//! `cargo run --release -p hatchery-master --example slots` prints a table; nothing is asserted.

#![expect(clippy::print_stdout, reason = "a table for people")]

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use hatchery_master::supervisor::{Action, Death, Event, Now, Policy, Status, Supervisor};
use hatchery_protocol::id::{ChildId, Seat};

/// How many times each kind of event is measured.
const ROUNDS: u32 = 2_000;

fn main() {
    println!("   slots  memory/slot  beat     tick     death    ready    all started  all stopped");
    for slots in [100, 1_000, 10_000] {
        println!("{}", measure(slots));
    }
}

/// A supervisor, a clock, and the processes that it asked for.
struct Cluster {
    supervisor: Supervisor,
    now: Now,
    actions: Vec<Action>,
    asked: Vec<ChildId>,
}

impl Cluster {
    fn feed(&mut self, event: Event) -> Duration {
        self.actions.clear();
        self.now += Duration::from_millis(1);
        let begin = Instant::now();
        self.supervisor.handle(self.now, event, &mut self.actions);
        let took = begin.elapsed();
        for action in &self.actions {
            if let Action::Spawn { child, .. } = action {
                self.asked.push(*child);
            }
        }
        took
    }

    fn create(&mut self, child: ChildId) {
        let pid = u32::try_from(child.incarnation).unwrap_or(1);
        self.feed(Event::Spawned { child, pid });
    }
}

fn measure(slots: u32) -> String {
    let before = resident();
    let policy = Policy {
        workers: slots,
        booting: slots,
        ..Policy::default()
    };
    let mut cluster = Cluster {
        supervisor: Supervisor::new(policy),
        now: Now::from_secs(1),
        actions: Vec::new(),
        asked: Vec::new(),
    };
    let begin = Instant::now();
    cluster.feed(Event::Started);
    let mut workers = Vec::new();
    while let Some(child) = cluster.asked.pop() {
        cluster.create(child);
        cluster.feed(Event::Ready { child });
        workers.extend(child.seat.slot().map(|_| child));
    }
    cluster.feed(Event::Listening);
    let started = begin.elapsed();
    cluster.actions = Vec::new();
    let weight = resident().saturating_sub(before) / u64::from(slots);

    let mut spent = [Duration::ZERO; 4];
    for round in 0..ROUNDS {
        let index = usize::try_from(round.wrapping_mul(2_654_435_761) % slots).unwrap_or(0);
        let Some(&child) = workers.get(index) else {
            continue;
        };
        let runtime_age = Duration::ZERO;
        let [beat, tick, death, ready] = &mut spent;
        *beat += cluster.feed(Event::Beat {
            child,
            runtime_age,
            requests: 1,
        });
        *tick += cluster.feed(Event::Tick);
        *death += cluster.feed(Event::Exited {
            child,
            death: Death {
                status: Status::Code(1),
                hint: None,
                last_words: Vec::new(),
            },
        });
        // A slot in a row of deaths waits; time is cheap here.
        while cluster.asked.is_empty() {
            cluster.now += Duration::from_secs(1);
            cluster.feed(Event::Suspended);
        }
        let Some(child) = cluster.asked.pop() else {
            continue;
        };
        cluster.create(child);
        *ready += cluster.feed(Event::Ready { child });
        if let Some(worker) = workers.get_mut(index) {
            *worker = child;
        }
    }
    let stopped = stop(cluster, workers);
    let [beat, tick, death, ready] = spent.map(|time| format!("{:>5.1} us", micros(time)));
    format!(
        "{slots:>8} {weight:>8} B    {beat} {tick} {death} {ready}   {started:>9.1?}    {stopped:>9.1?}"
    )
}

fn stop(mut cluster: Cluster, mut workers: Vec<ChildId>) -> Duration {
    let begin = Instant::now();
    let origin = "the end of the measurement".to_owned();
    cluster.feed(Event::StopRequested {
        origin,
        at_once: false,
    });
    workers.push(ChildId {
        seat: Seat::Agent,
        incarnation: 1,
    });
    for child in workers {
        cluster.feed(Event::Exited {
            child,
            death: Death {
                status: Status::Code(0),
                hint: None,
                last_words: Vec::new(),
            },
        });
    }
    assert!(cluster.supervisor.is_stopping(), "it was asked to stop");
    black_box(cluster.supervisor);
    begin.elapsed()
}

fn micros(total: Duration) -> f64 {
    total.as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

/// Resident memory in bytes (proc(5)).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
