//! Everything at once and at random, for a while: processes killed, stopped, spinning, leaving, agents, too,
//! under clients that keep their connections and clients that come once. What fails was in the hands of a
//! process that was killed; in the end everything is as it was.
//!
//! `HATCHERY_CHAOS` is for how many seconds (30), `HATCHERY_CHAOS_SEED` repeats the choices of a run.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_tests::event::Event;
use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::{self, LATE, PATIENCE};
use hatchery_tests::{Cluster, Traffic, Visitors, http, playground};
use rustix::process::Signal;

const WORKERS: u32 = 6;
/// How many bytes the master may have grown by: what its allocator keeps of the busiest moment.
const GROWTH: u64 = 16 << 20;
/// How long the last ones may take to come back: deaths in a row are answered with ever longer waits.
const RECOVERY: Duration = Duration::from_secs(90);

/// How long a process that stands still may seem to be ready.
const FOUND_OUT: Duration = Duration::from_secs(8);

/// `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
        Err(_) => otherwise,
    }
}

/// Breaks something.
fn strike(cluster: &Cluster, chance: &mut Chance) {
    let slot = u32::try_from(chance.below(WORKERS as usize)).unwrap();
    let worker = cluster.worker(slot);
    let address = cluster.address();
    match chance.below(8) {
        0 | 1 => kill(worker, Signal::KILL),
        2 => kill(worker, Signal::STOP),
        3 => {
            let spinning = http::connect(address).and_then(|mut c| c.ask("/spin/3600000"));
            spinning.unwrap();
        }
        // Whoever takes it is gone, and with it the connection.
        4 => drop(http::get(address, "/exit/7")),
        5 => kill(worker, Signal::TERM),
        6 => kill(cluster.agent(), Signal::KILL),
        _ => kill(cluster.agent(), Signal::STOP),
    }
}

/// What a master has.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    children: usize,
    memory: u64,
}

impl Holdings {
    fn of(master: u32) -> Self {
        Self {
            descriptors: process::descriptors(master),
            threads: process::threads(master),
            children: process::children(master).len(),
            memory: process::resident_bytes(master),
        }
    }
}

/// When processes died that were killed outright, in milliseconds on the monotonic clock.
fn violent_deaths(events: &[Event]) -> Vec<u64> {
    let violent = |event: &&Event| {
        let exit = event.exit.as_deref().unwrap_or_default();
        event.event == "worker-exited" && matches!(exit, "signal" | "hung" | "code")
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
    assert!(cut_off.contains(&error.kind()), "{error:?}");
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
    let workers = status["workers"].as_array().unwrap().iter();
    let everybody = workers.chain([&status["agent"]]);
    let pid = |seat: &serde_json::Value| seat["pid"].as_u64().filter(|_| seat["state"] == "ready");
    everybody.map(pid).collect()
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

#[test]
fn whatever_happens_it_goes_on() {
    let lasts = Duration::from_secs(number("HATCHERY_CHAOS", 30));
    let seed = number("HATCHERY_CHAOS_SEED", u64::from(std::process::id()));
    eprintln!("HATCHERY_CHAOS_SEED={seed}");
    let mut chance = Chance(seed);
    let cluster = playground!()
        .workers(WORKERS)
        .flag("--worker-timeout", "3s")
        .flag("--max-requests", "2000")
        .start();
    let traffic = Traffic::begin(cluster.address(), 12);
    let visitors = Visitors::begin(cluster.address(), 4);
    let begun = Holdings::of(cluster.master());
    let (clock, ms) = (Instant::now(), millis(monotonic()));
    let mut metrics = cluster.metrics_unhurried();
    let mut strikes = 0;
    while clock.elapsed() < lasts {
        strike(&cluster, &mut chance);
        strikes += 1;
        wait::pass(Duration::from_millis(100 + chance.below(900) as u64));
        let now = cluster.metrics_unhurried();
        assert_eq!(now.fallen_since(&metrics), [""; 0]);
        metrics = now;
    }
    traffic.expect_answers(100);
    let (failures, visits) = (traffic.end(), visitors.end());
    // Without clients nobody is recycled any more.
    expect_recovery(&cluster);
    let deaths = violent_deaths(&cluster.events());
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
    let as_before = wait::until(PATIENCE, || {
        let now = Holdings::of(cluster.master());
        let as_before = now.descriptors <= begun.descriptors
            && now.threads <= begun.threads
            && now.children == begun.children;
        as_before.then_some(())
    });
    let now = Holdings::of(cluster.master());
    assert!(as_before.is_some(), "{now:?}, and it had {begun:?}");
    let grown = Holdings::of(cluster.master())
        .memory
        .saturating_sub(begun.memory);
    assert!(grown < GROWTH, "the master has grown by {grown} bytes");
    eprintln!(
        "{strikes} strikes, {} deaths, {} visits, {} cut off; the master has grown by {grown} bytes",
        deaths.len(),
        visits.len(),
        failures.len() + turned_away
    );
    cluster.expect_orderly_end();
}
