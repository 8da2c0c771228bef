//! What one event costs the supervisor, and what one slot weighs, from a hundred slots to ten thousand.
//!
//! `cargo run --release -p hatchery-master --example slots` prints a table; nothing is asserted. The upper
//! part is about events that concern one process, the lower one about those that concern all.

#![expect(clippy::print_stdout, reason = "a table for people")]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use hatchery_master::supervisor::{
    Action, Death, Event, Now, Policy, Recycle, Scale, Status, Supervisor,
};
use hatchery_protocol::id::ChildId;

/// How many times what happens to one worker is measured.
const ROUNDS: u32 = 2_000;
/// How many times the number of workers changes.
const SCALINGS: u32 = 20;

const SINGLE: [&str; 11] = [
    "beat",
    "memory",
    "tick",
    "death",
    "spawned",
    "ready",
    "worn out",
    "takes over",
    "leaver gone",
    "one more ready",
    "one less gone",
];
const WHOLE: [&str; 9] = [
    "egg-ready",
    "one more",
    "one less",
    "suspended",
    "staged",
    "proven",
    "adopted",
    "stop",
    "drain",
];

fn main() {
    let sizes = [100, 1_000, 10_000];
    let columns: Vec<Measured> = sizes.into_iter().map(measure).collect();
    println!("{:<16}{:>9}{:>9}{:>9} slots", "", 100, "1,000", "10,000");
    let row = |name: &str, of: &dyn Fn(&Measured) -> String| {
        print!("{name:<16}");
        for measured in &columns {
            print!("{:>9}", of(measured));
        }
        println!();
    };
    for name in SINGLE {
        row(name, &|measured| format!("{:.1}", measured.micros(name)));
    }
    println!("us, and for all slots together, us:");
    for name in WHOLE {
        row(name, &|measured| format!("{:.0}", measured.micros(name)));
    }
    row("bytes a slot", &|measured| measured.weight.to_string());
}

/// How often which kind of event was fed, and how long that took.
#[derive(Default)]
struct Measured {
    kinds: BTreeMap<&'static str, (Duration, u32)>,
    weight: u64,
}

impl Measured {
    fn micros(&self, kind: &str) -> f64 {
        let (total, count) = self.kinds.get(kind).copied().unwrap_or_default();
        total.as_secs_f64() * 1e6 / f64::from(count.max(1))
    }
}

/// A supervisor, a clock, and the processes that it asked for.
struct Cluster {
    supervisor: Supervisor,
    now: Now,
    actions: Vec<Action>,
    asked: Vec<ChildId>,
    /// Who holds each slot.
    workers: Vec<ChildId>,
    measured: Measured,
}

impl Cluster {
    fn feed(&mut self, kind: &'static str, event: Event) {
        self.actions.clear();
        self.now += Duration::from_millis(1);
        let begin = Instant::now();
        self.supervisor.handle(self.now, event, &mut self.actions);
        let took = begin.elapsed();
        let mut kind = kind;
        for action in &self.actions {
            if let Action::Spawn { child, .. } = action {
                self.asked.push(*child);
            }
            if *action == Action::Adopt {
                kind = "adopted";
            }
        }
        let (total, count) = self.measured.kinds.entry(kind).or_default();
        *total += took;
        *count += 1;
    }

    fn ready(&mut self, kind: &'static str, child: ChildId) {
        let pid = u32::try_from(child.incarnation).unwrap_or(1);
        self.feed("spawned", Event::Spawned { child, pid });
        self.feed(kind, Event::Ready { child });
    }

    fn exits(&mut self, kind: &'static str, child: ChildId) {
        let death = Death {
            status: Status::Code(0),
            hint: None,
            last_words: Vec::new(),
        };
        self.feed(kind, Event::Exited { child, death });
    }

    /// The process that holds a slot gives way to the one that was asked for.
    fn replace(&mut self, index: usize, kind: &'static str) {
        let Some(fresh) = self.asked.pop() else {
            return;
        };
        let Some(place) = self.workers.get_mut(index) else {
            return;
        };
        let old = std::mem::replace(place, fresh);
        self.ready(kind, fresh);
        self.exits("leaver gone", old);
    }
}

fn measure(slots: u32) -> Measured {
    let before = resident();
    let mut cluster = Cluster {
        supervisor: Supervisor::new(policy(slots)),
        now: Now::from_secs(1),
        actions: Vec::new(),
        asked: Vec::new(),
        workers: Vec::new(),
        measured: Measured::default(),
    };
    start(&mut cluster);
    cluster.actions = Vec::new();
    cluster.measured.weight = resident().saturating_sub(before) / u64::from(slots);
    one_by_one(&mut cluster, slots);
    scale(&mut cluster);
    cluster.feed("suspended", Event::Suspended);
    reload(&mut cluster, slots);
    let (origin, at_once) = ("the end".to_owned(), false);
    cluster.feed("stop", Event::StopRequested { origin, at_once });
    assert!(cluster.supervisor.is_stopping(), "it was asked to stop");
    cluster.feed("drain", Event::ListenersClosed);
    cluster.measured
}

fn policy(slots: u32) -> Policy {
    Policy {
        workers: slots,
        booting: slots,
        recycle: Recycle {
            max_requests: 1_000,
            max_memory: 1_000,
            ..Recycle::default()
        },
        ..Policy::default()
    }
}

fn start(cluster: &mut Cluster) {
    cluster.feed("started", Event::Started);
    while let Some(child) = cluster.asked.pop() {
        cluster.ready("first ready", child);
        cluster.workers.extend(child.seat.slot().map(|_| child));
    }
    cluster.workers.sort_unstable();
    cluster.feed("egg-ready", Event::Listening);
}

fn one_by_one(cluster: &mut Cluster, slots: u32) {
    cluster.measured.kinds.remove("spawned");
    for round in 0..ROUNDS {
        let index = usize::try_from(round.wrapping_mul(2_654_435_761) % slots).unwrap_or(0);
        let Some(&child) = cluster.workers.get(index) else {
            continue;
        };
        let beat = |requests| Event::Beat {
            child,
            runtime_age: Duration::ZERO,
            requests,
        };
        cluster.feed("beat", beat(1));
        cluster.feed("memory", Event::Memory { child, bytes: 1 });
        cluster.feed("tick", Event::Tick);
        cluster.feed("worn out", beat(1_000));
        cluster.replace(index, "takes over");
        let Some(&child) = cluster.workers.get(index) else {
            continue;
        };
        cluster.exits("death", child);
        // A slot in a row of deaths waits; time is cheap here.
        while cluster.asked.is_empty() {
            cluster.now += Duration::from_secs(1);
            cluster.feed("waiting", Event::Suspended);
        }
        let Some(fresh) = cluster.asked.pop() else {
            continue;
        };
        cluster.ready("ready", fresh);
        if let Some(worker) = cluster.workers.get_mut(index) {
            *worker = fresh;
        }
    }
}

fn scale(cluster: &mut Cluster) {
    let wish = |to| Event::ScaleRequested {
        order: 1,
        origin: "the measurement".to_owned(),
        to,
    };
    let workers = cluster.workers.len();
    let more = u32::try_from(workers).map_or(u32::MAX, |workers| workers + 1);
    for _ in 0..SCALINGS {
        cluster.feed("wish", wish(Scale::Up));
        cluster.feed("one more", Event::SlotsReady { slots: more });
        let Some(child) = cluster.asked.pop() else {
            continue;
        };
        cluster.ready("one more ready", child);
        cluster.feed("one less", wish(Scale::Down));
        cluster.exits("one less gone", child);
        cluster.feed("fewer slots", Event::SlotsReady { slots: more - 1 });
    }
}

fn reload(cluster: &mut Cluster, slots: u32) {
    let (order, agent) = (2, false);
    let origin = "the measurement".to_owned();
    cluster.feed(
        "wish",
        Event::ReloadRequested {
            order,
            origin,
            agent,
        },
    );
    let policy = Box::new(policy(slots));
    cluster.feed("staged", Event::Staged { order, policy });
    let mut kind = "proven";
    while let Some(child) = cluster.asked.last() {
        let slot = child
            .seat
            .slot()
            .and_then(|slot| usize::try_from(slot).ok());
        let Some(slot) = slot else {
            return;
        };
        cluster.replace(slot, kind);
        kind = "takes over";
    }
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
