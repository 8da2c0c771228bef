//! Workers die at any moment, and every connection was one worker's: what a client asked was done at most once,
//! and exactly once if it was answered.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::meanwhile;
use hatchery_tests::{Cluster, each_strategy, http, playground};
use rustix::process::Signal;

const WORKERS: u32 = 16;
const CLIENTS: u64 = 16;
/// How long it goes on.
const TIME: Duration = Duration::from_secs(4);

/// One request on a connection of its own.
fn ask(address: SocketAddr, entry: &str) -> io::Result<()> {
    let mut connection = http::connect(address)?;
    let response = connection.post(&format!("/book/{entry}"), b"")?;
    assert_eq!((response.status, response.text()), (200, entry));
    Ok(())
}

/// Asks until it is over; the entries that were confirmed.
fn client(address: SocketAddr, number: u64, over: &AtomicBool, asked: &AtomicU64) -> Vec<String> {
    let mut confirmed = Vec::new();
    while !over.load(Relaxed) {
        let entry = format!("{number}-{}", asked.fetch_add(1, Relaxed));
        match ask(address, &entry) {
            Ok(()) => confirmed.push(entry),
            Err(error) => {
                let cut_off = [
                    ErrorKind::ConnectionReset,
                    ErrorKind::UnexpectedEof,
                    ErrorKind::BrokenPipe,
                ];
                assert!(
                    cut_off.contains(&error.kind()),
                    "neither refused nor hanging: {error}"
                );
            }
        }
    }
    confirmed
}

/// Kills whoever comes to mind.
fn kill_at_random(cluster: &Cluster) {
    // A generator of Lehmer's: any will do that needs no crate.
    let mut number = u64::from(std::process::id()) * 2 + 1;
    meanwhile(TIME, || {
        number = number * 48_271 % 0x7fff_ffff;
        let slot = u32::try_from(number % u64::from(WORKERS)).unwrap();
        kill(cluster.worker(slot), Signal::KILL);
        thread::park_timeout(Duration::from_millis(number % 30));
    });
}

fn killed_at_random(strategy: &str) {
    let plan = playground!().workers(WORKERS).strategy(strategy);
    let book = plan.path("book");
    let cluster = plan.env("PLAYGROUND_BOOK", &book).start();
    let (master, address) = (cluster.master(), cluster.address());
    let descriptors = process::descriptors(master);
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let confirmed: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let (over, asked) = (&over, &asked);
                    move || client(address, number, over, asked)
                })
            })
            .collect();
        kill_at_random(&cluster);
        over.store(true, Relaxed);
        let confirmed = clients.into_iter().map(|client| client.join().unwrap());
        confirmed.flatten().collect()
    });
    let book = fs::read_to_string(book).unwrap();
    let entries: Vec<&str> = book.lines().collect();
    let done: BTreeSet<&str> = entries.iter().copied().collect();
    assert_eq!(done.len(), entries.len(), "something was done twice");
    let lost = confirmed
        .iter()
        .filter(|entry| !done.contains(entry.as_str()));
    assert_eq!(lost.count(), 0, "something was confirmed and not done");
    assert!(
        confirmed.len() > 100,
        "only {} were served",
        confirmed.len()
    );
    cluster.expect_status("no connection is left", |status| {
        let workers = status["workers"].as_array().unwrap();
        workers.iter().all(|worker| worker["connections"] == 0)
    });
    cluster.expect("the master holds nothing", || {
        process::descriptors(master) <= descriptors
    });
    cluster.expect_orderly_end();
}

each_strategy!(whatever_dies_nothing_is_done_twice => killed_at_random);
