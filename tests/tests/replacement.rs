//! Keep-alive clients under replacements: what a worker that leaves loses (nothing), and what one that is
//! killed loses (what it had in its hands).
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::LATE;
use hatchery_tests::{Cluster, Traffic, each_strategy, playground, step};
use rustix::process::Signal;

/// How many workers, and how often each of them is replaced: a hundred replacements in all. Few for each, for
/// the master lets ever more time pass between two of one slot.
const WORKERS: u32 = 20;
const ROUNDS: usize = 5;
const CLIENTS: u64 = 24;

/// How soon a client knows that its worker is gone.
const SOON: Duration = Duration::from_millis(100);

/// When a worker was told to go, and when it was seen to be gone.
struct Replaced {
    told: Instant,
    gone: Instant,
}

/// Replaces one worker after the other; the next one goes while the last is on its way back.
fn replace_a_hundred(
    cluster: &Cluster,
    traffic: &Traffic,
    signal: Signal,
) -> BTreeMap<u32, Replaced> {
    let mut replaced = BTreeMap::new();
    for round in 0..ROUNDS {
        for slot in 0..WORKERS {
            if round > 0 {
                cluster.wait_nth(step("worker-replaced").slot(slot), round);
            }
            traffic.expect_answers(5);
            let worker = cluster.worker(slot);
            let told = Instant::now();
            kill(worker, signal);
            process::expect_dead(worker);
            let gone = Instant::now();
            replaced.insert(worker, Replaced { told, gone });
            cluster.wait(step("worker-exited").pid(worker));
        }
    }
    for slot in 0..WORKERS {
        cluster.wait_nth(step("worker-replaced").slot(slot), ROUNDS);
    }
    assert_eq!(replaced.len(), 100);
    replaced
}

fn terminated(strategy: &str) {
    let cluster = playground!()
        .workers(WORKERS)
        .strategy(strategy)
        .flag("--lame-duck", "4s")
        .start();
    let traffic = Traffic::begin(cluster.address(), CLIENTS);
    replace_a_hundred(&cluster, &traffic, Signal::TERM);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    cluster.stop();
}

each_strategy!(a_hundred_workers_leave_and_no_request_fails => terminated);

fn killed(strategy: &str) {
    let cluster = playground!().workers(WORKERS).strategy(strategy).start();
    let master = cluster.master();
    let descriptors = process::descriptors(master);
    let traffic = Traffic::begin(cluster.address(), CLIENTS);
    let killed = replace_a_hundred(&cluster, &traffic, Signal::KILL);
    let mut delays = Vec::new();
    for failure in traffic.end() {
        let kind = failure.error.kind();
        let cut_off = [
            ErrorKind::ConnectionReset,
            ErrorKind::UnexpectedEof,
            ErrorKind::BrokenPipe,
        ];
        assert!(
            cut_off.contains(&kind),
            "neither refused nor hanging: {failure:?}"
        );
        // Where nobody had answered yet it is not known whose client it was.
        let Some(worker) = failure.worker else {
            continue;
        };
        let killed = killed.get(&worker).expect("its worker was killed");
        assert!(failure.when >= killed.told, "{failure:?}");
        // A busy machine needs its time to end a process; what counts is how long a client waits then.
        let delay = failure.when.saturating_duration_since(killed.gone);
        assert!(delay < SOON + LATE, "{failure:?} after {delay:?}");
        delays.push(delay);
    }
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).expect("somebody was cut off");
    assert!(*median <= SOON, "half of them later than {median:?}");
    cluster.expect("the master holds nothing", || {
        process::descriptors(master) <= descriptors
    });
    cluster.expect_status("no connection is left", |status| {
        let workers = status["workers"].as_array().unwrap();
        workers.iter().all(|worker| worker["connections"] == 0)
    });
    cluster.expect_orderly_end();
}

each_strategy!(a_hundred_workers_are_killed_and_nobody_hangs => killed);
