//! Workers that have served enough: replaced one at a time, by one that is ready, and no request fails.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;

use hatchery_tests::event::{Event, count};
use hatchery_tests::{Cluster, Plan, Traffic, each_strategy, playground, step};

/// What becomes of a worker that is recycled, checked in the order of events. Returns how many there were.
#[track_caller]
fn expect_one_at_a_time(events: &[Event]) -> usize {
    let mut recycled = 0;
    // The worker that is being replaced, and the one that is to take its place.
    let mut going: Option<(Option<u32>, Option<u32>)> = None;
    let mut successor_is_ready = false;
    for event in events {
        match (event.event.as_str(), going) {
            ("recycling", None) => {
                going = Some((event.slot, event.pid));
                successor_is_ready = false;
            }
            ("recycling", Some(other)) => panic!("{event:?} beside {other:?}"),
            ("worker-ready", Some((slot, pid))) if event.slot == slot => {
                assert_ne!(event.pid, pid);
                successor_is_ready = true;
            }
            ("draining", Some((_, pid))) if event.pid == pid => {
                assert!(
                    successor_is_ready,
                    "{event:?} before its successor was ready"
                );
            }
            ("worker-exited", Some((_, pid))) if event.pid == pid => {
                assert_eq!(event.exit.as_deref(), Some("recycled"), "{event:?}");
                assert_eq!(event.role, "worker");
                recycled += 1;
                going = None;
            }
            ("worker-exited", _) => panic!("{event:?} was not meant"),
            _ => {}
        }
    }
    recycled
}

fn by_requests(strategy: &str) {
    let cluster = playground!()
        .workers(3)
        .strategy(strategy)
        .flag("--max-requests", "150")
        .start();
    let traffic = Traffic::begin(cluster.address(), 12);
    cluster.wait_nth("recycling", 6);
    traffic.expect_answers(50);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    let last = count(&cluster.events(), "recycling");
    cluster.expect("the last one has gone", || {
        count(&cluster.events(), "worker-exited") >= last
    });
    let events = cluster.events();
    assert!(expect_one_at_a_time(&events) >= 6);
    let first = events
        .iter()
        .find(|event| event.event == "recycling")
        .unwrap();
    assert!(first.why().contains("requests"), "{first:?}");
    assert_eq!(
        cluster
            .metrics()
            .count("hatchery_hung_total{role=\"worker\"}"),
        0
    );
    // One may be about to be recycled.
    cluster.expect_orderly_end();
}

each_strategy!(workers_that_have_served_enough_requests_are_replaced_and_none_fails => by_requests);

#[test]
fn workers_that_have_lived_long_enough_are_replaced() {
    let cluster = playground!()
        .workers(3)
        .flag("--max-lifetime", "2s")
        .flag("--recycle-jitter", "50")
        .start();
    let traffic = Traffic::begin(cluster.address(), 6);
    let firsts: BTreeSet<u32> = (0..3).map(|slot| cluster.worker(slot)).collect();
    for pid in &firsts {
        cluster.wait(step("worker-exited").pid(*pid));
    }
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    let events = cluster.events();
    expect_one_at_a_time(&events);
    let first = events
        .iter()
        .find(|event| event.event == "recycling")
        .unwrap();
    assert!(first.why().contains("long enough"), "{first:?}");
    assert_eq!(count(&events, "agent-exited"), 0, "the agent serves nobody");
    cluster.expect_orderly_end();
}

/// A worker that has just begun has some tens of megabytes at most.
fn limited(flag: &str) -> Plan {
    playground!().flag(flag, "150MiB")
}

fn grow(cluster: &Cluster, slot: u32) -> u32 {
    let (mut connection, who) = cluster.connect_to(slot);
    assert_eq!(connection.get("/grow/200").unwrap().status, 200);
    who.pid
}

#[test]
fn a_worker_with_too_much_memory_is_replaced() {
    let cluster = limited("--max-memory").start();
    let traffic = Traffic::begin(cluster.address(), 6);
    let grown = grow(&cluster, 1);
    let told = cluster.wait(step("recycling").pid(grown));
    assert!(told.why().contains("memory"), "{told:?}");
    cluster.wait(step("worker-exited").pid(grown));
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(expect_one_at_a_time(&cluster.events()), 1);
    assert_eq!(count(&cluster.events(), step("worker-exited").slot(0)), 0);
    cluster.stop();
}

#[test]
fn a_worker_with_far_too_much_memory_is_killed() {
    let cluster = limited("--max-memory-hard").start();
    let grown = grow(&cluster, 1);
    let exited = cluster.wait(step("worker-exited").pid(grown));
    assert!(exited.why().contains("memory"), "{exited:?}");
    assert!(exited.why().contains("SIGKILL"), "{exited:?}");
    cluster.wait(step("worker-replaced").slot(1));
    let (_, who) = cluster.connect_to(1);
    assert_ne!(who.pid, grown);
    assert_eq!(count(&cluster.events(), step("worker-exited").slot(0)), 0);
    cluster.expect_orderly_end();
}

#[test]
fn limits_that_exclude_each_other_are_told() {
    let ran = limited("--max-memory")
        .flag("--max-memory-hard", "100MiB")
        .run_instead("check");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(
        ran.stderr
            .contains("`max_memory` must be less than `max_memory_hard`"),
        "{ran:?}"
    );
}
