//! Everything at once and at random, for a while: processes killed, stopped, spinning, leaving, agents, too;
//! reloads, other numbers of workers, new masters; under clients that keep their connections and clients that
//! come once. What fails was in the hands of a process that was killed; in the end everything is as it was.
//!
//! `HATCHERY_CHAOS` is for how many seconds (30), `HATCHERY_CHAOS_SEED` repeats the choices of a run.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_tests::chance::{Chance, number};
use hatchery_tests::event::{Event, count};
use hatchery_tests::holdings::Holdings;
use hatchery_tests::metrics::Metrics;
use hatchery_tests::order::Pending;
use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::{self, LATE, PATIENCE};
use hatchery_tests::{Cluster, Traffic, Visitors, http, playground};
use rustix::process::Signal;
use serde_json::json;

const WORKERS: usize = 6;
/// How many workers there are at least and at most, as it is scaled.
const FEWEST: usize = 3;
const MOST: usize = 9;
const STAYING: u64 = 12;
const COMING: usize = 4;
/// How many bytes the master may have grown by: what its allocator keeps of the busiest moment.
const GROWTH: u64 = 16 << 20;
/// How long the last ones may take to come back: deaths in a row are answered with ever longer waits.
const RECOVERY: Duration = Duration::from_secs(90);
/// How long a process that stands still may seem to be ready.
const FOUND_OUT: Duration = Duration::from_secs(8);

/// What is done to a cluster.
struct Chaos<'c> {
    cluster: &'c Cluster,
    chance: Chance,
    /// Orders whose outcome is not known yet.
    orders: Vec<Pending>,
    /// An upgrade that succeeded, whose old master still lives.
    succeeded: bool,
    metrics: Option<(u64, Metrics)>,
    /// How often each kind of order was carried out, and how often not.
    outcomes: BTreeMap<String, (u32, u32)>,
}

impl Chaos<'_> {
    /// Does something.
    fn strike(&mut self) {
        let address = self.cluster.address();
        match self.chance.below(12) {
            0 | 1 => self.send("worker", Signal::KILL),
            2 => self.send("worker", Signal::STOP),
            3 => {
                let spinning = http::connect(address).and_then(|mut c| c.ask("/spin/3600000"));
                spinning.unwrap();
            }
            // Whoever takes it is gone, and with it the connection.
            4 => drop(http::get(address, "/exit/7")),
            5 => self.send("worker", Signal::TERM),
            6 => self.send("agent", Signal::KILL),
            7 => self.send("agent", Signal::STOP),
            8 => {
                let workers = FEWEST + self.chance.below(MOST - FEWEST + 1);
                self.scale_to(workers);
            }
            9 => {
                let agent = self.chance.below(2) == 0;
                self.order(json!({"request": "reload", "agent": agent}));
            }
            // One at a time, so that each master can be followed.
            _ if self.succeeded || self.is_upgrading() => {}
            _ => self.order(json!({"request": "upgrade"})),
        }
    }

    /// To a living process of this role, of the old or of a new generation.
    fn send(&mut self, role: &str, signal: Signal) {
        let events = self.cluster.events();
        let mut living = self.cluster.survivors().list();
        // The last word about a pid counts: in half an hour the system uses them again, also for a master.
        living.retain(|process| {
            let about = |event: &&Event| event.pid == Some(process.pid);
            events
                .iter()
                .rfind(about)
                .is_some_and(|event| event.role == role)
        });
        if !living.is_empty() {
            kill(living[self.chance.below(living.len())].pid, signal);
        }
    }

    fn order(&mut self, request: serde_json::Value) {
        self.orders.push(self.cluster.order(request));
    }

    fn scale_to(&mut self, workers: usize) {
        self.order(json!({"request": "scale", "to": {"workers": workers}}));
    }

    fn is_upgrading(&self) -> bool {
        let mut requests = self.orders.iter().map(|order| &order.request["request"]);
        requests.any(|request| request == "upgrade")
    }

    /// Takes note of what has come to an end.
    fn look(&mut self) {
        let (over, pending) = std::mem::take(&mut self.orders)
            .into_iter()
            .partition(Pending::is_over);
        self.orders = pending;
        let over: Vec<Pending> = over;
        for order in over {
            let name = order.request["request"].as_str().unwrap().to_owned();
            let outcome = order.outcome();
            self.succeeded |= name == "upgrade" && outcome.is_ok();
            let counts = self.outcomes.entry(name).or_default();
            match outcome {
                Ok(()) => counts.0 += 1,
                Err(_) => counts.1 += 1,
            }
        }
        if self.succeeded && !process::is_alive(self.cluster.master()) {
            assert_eq!(self.cluster.follow().code(), Some(0));
            self.succeeded = false;
        }
        self.watch_counters();
    }

    /// As long as it is the same master, nothing it has counted becomes less.
    fn watch_counters(&mut self) {
        let master = || self.cluster.status()["master"]["pid"].as_u64().unwrap();
        let before = master();
        let now = self.cluster.metrics_unhurried();
        if master() != before {
            return;
        }
        // For a moment of an upgrade either master answers, and only what it says tells which one it was.
        let uptime = |metrics: &Metrics| metrics.value("hatchery_uptime_seconds");
        if let Some((known, metrics)) = &self.metrics
            && *known == before
            && uptime(&now) >= uptime(metrics)
        {
            let mut fallen = now.fallen_since(metrics);
            fallen.retain(|series| !may_be_given_up(series));
            assert_eq!(fallen, [""; 0]);
        }
        self.metrics = Some((before, now));
    }

    /// Lets everything that was ordered come to its end, and the number of workers be what it was.
    #[track_caller]
    fn calm_down(&mut self) {
        let settle = |chaos: &mut Self| {
            let settled = wait::until(RECOVERY, || {
                chaos.look();
                (chaos.orders.is_empty() && !chaos.succeeded).then_some(())
            });
            assert!(settled.is_some(), "{:?}", chaos.orders);
        };
        settle(self);
        self.scale_to(WORKERS);
        settle(self);
    }
}

/// Whether this is about a slot that comes and goes, and what is counted for it with it.
fn may_be_given_up(series: &str) -> bool {
    (FEWEST..MOST).any(|slot| series.contains(&format!("slot=\"{slot}\"")))
}

/// When processes died that were killed outright, in milliseconds on the monotonic clock.
fn violent_deaths(events: &[Event]) -> Vec<u64> {
    let violent = |event: &&Event| {
        let exit = event.exit.as_deref().unwrap_or_default();
        // Whoever stands still when it is told to leave is killed in the end.
        let killed = event.why().contains("killed by signal");
        event.event == "worker-exited" && (matches!(exit, "signal" | "hung" | "code") || killed)
    };
    events.iter().filter(violent).map(|e| e.ts_ms).collect()
}

/// A client that was cut off, and not refused, and not kept waiting: just after somebody had died.
#[track_caller]
fn expect_cut_off(error: &io::Error, when_ms: u64, deaths: &[u64]) {
    let cut_off = [
        ErrorKind::ConnectionReset,
        ErrorKind::UnexpectedEof,
        ErrorKind::BrokenPipe,
    ];
    assert!(cut_off.contains(&error.kind()), "{error:?} at {when_ms}");
    // The event may be written a moment after the kernel has closed the connections.
    let soon = 100 + millis(LATE);
    let explained = deaths.iter().any(|death| death.abs_diff(when_ms) < soon);
    assert!(
        explained,
        "{error:?} at {when_ms}, where nobody died: {deaths:?}"
    );
}

/// Who is ready, if everybody is. A process that stands still seems so until it is found out.
fn everybody_ready(cluster: &Cluster) -> Option<Vec<u64>> {
    let status = cluster.status();
    let workers = status["workers"].as_array().unwrap();
    let everybody = workers.iter().chain([&status["agent"]]);
    let pid = |seat: &serde_json::Value| seat["pid"].as_u64().filter(|_| seat["state"] == "ready");
    everybody
        .map(pid)
        .collect::<Option<_>>()
        .filter(|_| workers.len() == WORKERS)
}

/// Waits until everybody is ready, and stays so for as long as a hang takes to be found out.
#[track_caller]
fn expect_recovery(cluster: &Cluster) {
    let (mut who, mut since) = (None, Instant::now());
    let recovered = wait::until(RECOVERY, || {
        let now = everybody_ready(cluster);
        if now != who {
            (who, since) = (now, Instant::now());
        }
        wait::pass(Duration::from_millis(50));
        (who.is_some() && since.elapsed() > FOUND_OUT).then_some(())
    });
    assert!(recovered.is_some(), "{}", cluster.status());
}

/// No process is left over, and the master has what it had.
#[track_caller]
fn expect_as_before(cluster: &Cluster, begun: &Holdings) -> u64 {
    // And the master itself.
    let everybody = begun.children + 1;
    let as_before = wait::until(PATIENCE, || {
        let alone = cluster.survivors().list().len() == everybody;
        let same = Holdings::of(cluster.master()).is_no_more_than(begun);
        (alone && same).then_some(())
    });
    let now = Holdings::of(cluster.master());
    assert!(as_before.is_some(), "{now:?}, and it had {begun:?}");
    let grown = now.memory.saturating_sub(begun.memory);
    assert!(grown < GROWTH, "the master has grown by {grown} bytes");
    grown
}

#[test]
fn whatever_happens_it_goes_on() {
    let lasts = Duration::from_secs(number("HATCHERY_CHAOS", 30));
    let cluster = playground!()
        .upgradable()
        .workers(u32::try_from(WORKERS).unwrap())
        .flag("--worker-timeout", "3s")
        .flag("--max-requests", "2000")
        .start();
    let mut chaos = Chaos {
        cluster: &cluster,
        chance: Chance::of("HATCHERY_CHAOS_SEED"),
        orders: Vec::new(),
        succeeded: false,
        metrics: None,
        outcomes: BTreeMap::new(),
    };
    // From the first reload on, the executable is an open file.
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    let traffic = Traffic::begin(cluster.address(), STAYING);
    let visitors = Visitors::begin(cluster.address(), COMING);
    let begun = Holdings::of(cluster.master());
    let (clock, ms) = (Instant::now(), millis(monotonic()));
    let mut strikes = 0;
    while clock.elapsed() < lasts {
        chaos.strike();
        strikes += 1;
        let pause = 100 + chaos.chance.below(900) as u64;
        wait::pass(Duration::from_millis(pause));
        chaos.look();
    }
    traffic.expect_answers(100);
    let (failures, visits) = (traffic.end(), visitors.end());
    chaos.calm_down();
    // Without clients nobody is recycled any more.
    expect_recovery(&cluster);
    let events = cluster.events();
    let deaths = violent_deaths(&events);
    assert!(!deaths.is_empty() && strikes > 0);
    let at = |when: Instant| ms + millis(when.duration_since(clock));
    for failure in &failures {
        expect_cut_off(&failure.error, at(failure.when), &deaths);
    }
    let mut turned_away = 0;
    for visit in &visits {
        if let Err(error) = &visit.outcome {
            expect_cut_off(error, at(visit.begun + visit.took), &deaths);
            turned_away += 1;
        }
    }
    // At most what each client had under way when a process died.
    let most = deaths.len() * 16;
    assert!(
        failures.len() + turned_away <= most,
        "{} and {turned_away}",
        failures.len()
    );
    let grown = expect_as_before(&cluster, &begun);
    eprintln!(
        "{strikes} strikes, {} deaths, {} agents gone, {} visits, {} cut off; orders done and not: {:?}; nobody in \
         office for {:?} ms; the master has grown by {grown} bytes",
        deaths.len(),
        count(&events, "agent-exited"),
        visits.len(),
        failures.len() + turned_away,
        chaos.outcomes,
        cluster.expect_one_in_office(),
    );
    cluster.expect_orderly_end();
}
