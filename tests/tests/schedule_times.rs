//! Times of schedules while what watches the clock is replaced: each is run once, or counted as missed or skipped.

use hatchery_tests::jobs::{assert_each_second_counted, assert_no_repetition, begun, wait_begun};
use hatchery_tests::{Cluster, Plan, playground, process};
use rustix::process::Signal;

fn plan(schedules: &str) -> Plan {
    playground!().schedules(schedules)
}

/// Waits until so many more runs of a schedule have begun.
#[track_caller]
fn wait_more(cluster: &Cluster, name: &str, count: usize) {
    let of = || begun(cluster).iter().filter(|l| l.schedule == name).count();
    let before = of();
    cluster.expect("runs begin", || of() >= before + count);
}

#[track_caller]
fn kill_agent(cluster: &Cluster) {
    let mark = cluster.mark();
    process::kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
}

/// Seconds through everything that an operator can do. The one who watches is replaced at the worst time: right after a
/// time has come.
#[test]
fn each_second_is_counted_over_reloads_and_upgrades() {
    let cluster = plan("a cron=*_*_*_*_*_*;b cron=*_*_*_*_*_* agent")
        .upgradable()
        .start();
    wait_more(&cluster, "b", 1);
    for verb in [&["reload", "--agent"][..], &["reload"], &[]] {
        if verb.is_empty() {
            cluster.upgrade();
        } else {
            let ran = cluster.verb(verb);
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
        wait_more(&cluster, "b", 1);
    }
    for name in ["a", "b"] {
        assert_each_second_counted(&cluster, name);
    }
    cluster.stop();
}

/// The later ones are replaced after a pause, so that times pass in which nobody watches.
#[test]
fn each_second_is_counted_over_deaths_of_the_agent() {
    let cluster =
        plan("a cron=*_*_*_*_*_*;b cron=*_*_*_*_*_* agent;c cron=*_*_*_*_*_* skip-missed").start();
    for name in ["a", "b", "c"] {
        wait_more(&cluster, name, 1);
    }
    for _ in 0..5 {
        kill_agent(&cluster);
        wait_more(&cluster, "a", 1);
    }
    for name in ["a", "b", "c"] {
        assert_each_second_counted(&cluster, name);
    }
    cluster.stop();
}

/// Ticks of 20 ms through everything that an operator can do: each runs once, and none but those of the gap is
/// missing.
#[test]
fn never_twice_over_reloads_and_upgrades() {
    let cluster = plan("a every=20 agent;b every=20").upgradable().start();
    wait_begun(&cluster, 4);
    for verb in [&["reload"][..], &["reload", "--agent"], &[]] {
        if verb.is_empty() {
            cluster.upgrade();
        } else {
            let ran = cluster.verb(verb);
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
        let count = begun(&cluster).len();
        wait_begun(&cluster, count + 4);
    }
    let lines = begun(&cluster);
    assert_no_repetition(&lines);
    for name in ["a", "b"] {
        // Numbers go on, so no run is lost from sight; one may have been cut off by the change.
        let mut numbers: Vec<_> = lines
            .iter()
            .filter(|l| l.schedule == name)
            .map(|l| l.number)
            .collect();
        numbers.sort_unstable();
        let gaps: u64 = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
        assert!(gaps <= 3, "{name}: {numbers:?}");
    }
    cluster.stop();
}

#[test]
fn an_agent_that_dies_takes_no_times_with_it() {
    let cluster = plan("a every=50").start();
    wait_begun(&cluster, 2);
    let mark = cluster.mark();
    process::kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
    let count = begun(&cluster).len();
    wait_begun(&cluster, count + 2);
    assert_no_repetition(&begun(&cluster));
    cluster.signal(Signal::TERM);
    cluster.expect_orderly_end();
}
