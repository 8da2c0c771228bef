//! As many as there are CPUs to use: by the affinity of the master, and by the quota of its control group.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::process::Command;

use hatchery_tests::command::run;
use hatchery_tests::control_group::ControlGroup;
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Plan, playground, step};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity};

/// The CPUs that this test may use.
fn cpus() -> Vec<usize> {
    let mine = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| mine.is_set(*cpu))
        .collect()
}

/// As taskset(1) wants them.
fn list(cpus: &[usize]) -> String {
    let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    cpus.join(",")
}

/// The master and all that it starts run on one CPU.
fn on_one_cpu() -> Plan {
    playground!().through(["taskset", "--cpu-list", &list(&cpus()[..1])])
}

/// From now on.
fn move_to(pid: u32, cpus: &[usize]) {
    let mut taskset = Command::new("taskset");
    taskset.args([
        "--all-tasks",
        "--pid",
        "--cpu-list",
        &list(cpus),
        &pid.to_string(),
    ]);
    let ran = run(taskset);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// A group whose processes may use so many hundredths of a CPU together. Both versions of control groups take
/// microseconds of a tenth of a second.
fn group_of(hundredths: u32) -> Option<ControlGroup> {
    let quota = (hundredths * 1000).to_string();
    let group = ControlGroup::limited("cpu", ["cpu.cfs_quota_us", "cpu.max"], &quota);
    if group.is_none() {
        eprintln!("this machine has no control group for CPU time; nothing was tested");
    }
    group
}

/// From now on; `None` is without limit.
fn limit(group: &ControlGroup, hundredths: Option<u32>) {
    let quota = hundredths.map(|hundredths| (hundredths * 1000).to_string());
    let set = |file, unlimited| group.set(file, quota.as_deref().unwrap_or(unlimited));
    assert!(set("cpu.cfs_quota_us", "-1") || set("cpu.max", "max"));
}

fn auto(plan: Plan) -> Plan {
    plan.flag("--workers", "auto")
}

/// How many workers there are in a cluster that this test's own limits hold for, and no others.
fn most() -> usize {
    let cluster = auto(playground!()).start();
    let count = cluster.worker_pids().len();
    cluster.stop();
    count
}

#[track_caller]
fn expect_workers(cluster: &Cluster, count: usize) {
    assert_eq!(cluster.worker_pids().len(), count);
}

#[track_caller]
fn reload(cluster: &Cluster) {
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn auto_is_as_many_workers_as_cpus_may_be_used() {
    let cluster = auto(on_one_cpu()).start();
    expect_workers(&cluster, 1);
    cluster.stop();
    assert!((1..=cpus().len()).contains(&most()));
}

/// A part of a CPU counts as one: it would be left to nobody else.
#[test]
fn auto_keeps_to_the_quota_of_the_control_group() {
    for (hundredths, expected) in [(50, 1), (100, 1), (150, 2)] {
        let Some(group) = group_of(hundredths) else {
            return;
        };
        let cluster = auto(playground!()).inside(&group).start();
        expect_workers(&cluster, expected.min(cpus().len()));
        cluster.stop();
    }
}

/// As in a container, which does not see the group that its limit is set for.
#[test]
fn a_quota_further_up_counts_too() {
    let Some(above) = group_of(100) else {
        return;
    };
    let group = above.below();
    let cluster = auto(playground!()).inside(&group).start();
    expect_workers(&cluster, 1);
    cluster.stop();
}

/// Read again with the configuration: what an orchestrator changes while the cluster runs counts from then on.
#[test]
fn a_reload_follows_another_quota() {
    let most = most();
    let Some(group) = group_of(100) else {
        return;
    };
    let cluster = auto(playground!()).inside(&group).start();
    expect_workers(&cluster, 1);
    limit(&group, None);
    expect_workers(&cluster, 1);
    reload(&cluster);
    assert!(cluster.worker_pids().len() >= most);
    limit(&group, Some(100));
    reload(&cluster);
    cluster.expect("one worker is left", || cluster.worker_pids().len() == 1);
    cluster.stop();
}

#[test]
fn a_reload_and_an_upgrade_follow_another_affinity() {
    let most = most();
    let cluster = auto(on_one_cpu()).upgradable().start();
    expect_workers(&cluster, 1);
    move_to(cluster.master(), &cpus());
    reload(&cluster);
    expect_workers(&cluster, most);
    move_to(cluster.master(), &cpus()[..1]);
    cluster.upgrade();
    expect_workers(&cluster, 1);
    cluster.stop();
}

/// Those that serve share the CPUs with those that boot.
#[track_caller]
fn boots_one_at_a_time(plan: Plan) {
    let cluster = plan.workers(4).worker_start("slow:100").start();
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

/// A start has no such limit: there are no clients yet.
#[test]
fn no_more_workers_boot_at_once_than_cpus_may_be_used() {
    boots_one_at_a_time(on_one_cpu());
}

#[test]
fn no_more_workers_boot_at_once_than_the_quota_allows() {
    let Some(group) = group_of(100) else {
        return;
    };
    boots_one_at_a_time(playground!().inside(&group));
}
