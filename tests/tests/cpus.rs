//! As many as there are CPUs to use.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use hatchery_tests::process::kill;
use hatchery_tests::{Plan, playground, step};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity};

/// The master and all that it starts run on one CPU.
fn on_one_cpu() -> Plan {
    let mine = sched_getaffinity(None).unwrap();
    let cpu = (0..CpuSet::MAX_CPU).find(|cpu| mine.is_set(*cpu)).unwrap();
    playground!().through(["taskset", "--cpu-list", &cpu.to_string()])
}

#[test]
fn auto_is_as_many_workers_as_cpus_may_be_used() {
    let cluster = on_one_cpu().flag("--workers", "auto").start();
    assert_eq!(cluster.worker_pids().len(), 1);
    cluster.stop();
}

/// A start has no such limit: there are no clients yet.
#[test]
fn no_more_workers_boot_at_once_than_cpus_may_be_used() {
    let cluster = on_one_cpu().workers(4).worker_start("slow:100").start();
    let started = cluster.events().len();
    for slot in 0..4 {
        kill(cluster.worker(slot), Signal::KILL);
    }
    for slot in 0..4 {
        cluster.wait(step("worker-replaced").slot(slot));
    }
    let mut booting = 0;
    for event in cluster.events().iter().skip(started) {
        match event.event.as_str() {
            "worker-spawned" => booting += 1,
            "worker-ready" => booting -= 1,
            _ => {}
        }
        assert!(booting <= 1, "{event:?}");
    }
    assert_eq!(booting, 0);
    cluster.expect_orderly_end();
}
