//! What becomes of runs on workers when the agent that began them is replaced: each goes on, is awaited, and its
//! end is known.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;

use hatchery_tests::jobs::{begun, expect_outcome, lines, open_gate, schedule, wait_begun};
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Plan, playground, step};
use rustix::process::Signal;

/// A run that goes on until the gate is open, however long a worker that leaves has to wait for it.
fn plan(schedules: &str) -> Plan {
    playground!()
        .schedules(schedules)
        .flag("--drain-timeout", "60s")
}

/// Begins run 1 of `a`, by an operator who does not wait for its end, on so many workers.
#[track_caller]
fn begin(cluster: &Cluster, count: usize) {
    let out = cluster.plan().path("begun.txt");
    let mut asking = cluster.spawn_verb(&["schedule", "run", "a"], &out);
    // It is told that its agent is replaced, and ends then.
    std::thread::spawn(move || asking.wait());
    wait_begun(cluster, count);
}

#[track_caller]
fn expect_going_on(cluster: &Cluster) {
    cluster.expect("the new agent knows of the run", || {
        schedule(cluster, "a")["running"][0]["number"] == 1
    });
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("a run of `a` goes on already"),
        "{ran:?}"
    );
}

/// Run 1 ends well, is known to have, and number 2 may begin.
#[track_caller]
fn expect_end(cluster: &Cluster) {
    let run = expect_outcome(cluster, "a", "succeeded");
    assert_eq!(run["number"], 1, "{run}");
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let steps: Vec<_> = lines(cluster)
        .into_iter()
        .filter(|line| line.schedule == "a")
        .map(|line| (line.number, line.step))
        .collect();
    let wanted = [(1, "begin"), (1, "end"), (2, "begin"), (2, "end")];
    assert_eq!(steps, wanted.map(|(n, step)| (n, step.to_owned())));
}

#[track_caller]
fn kill_agent(cluster: &Cluster) {
    let mark = cluster.mark();
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
}

#[test]
fn an_agent_that_dies() {
    let cluster = plan("a job=gated disabled").start();
    begin(&cluster, 1);
    // Twice: the one after the next knows it, too.
    for _ in 0..2 {
        kill_agent(&cluster);
        expect_going_on(&cluster);
    }
    open_gate(&cluster, "a");
    expect_end(&cluster);
    cluster.stop();
}

/// The last worker of the old generation drains when the new agent is in office already.
#[test]
fn a_reload_with_the_agent() {
    let cluster = plan("a job=gated disabled").workers(1).start();
    begin(&cluster, 1);
    let agent = |cluster: &Cluster| cluster.status()["agent"]["pid"].clone();
    let old = agent(&cluster);
    let mark = cluster.mark();
    let out = cluster.plan().path("reload.txt");
    let mut reload = cluster.spawn_verb(&["reload", "--agent"], &out);
    cluster.wait_since(mark, step("agent-exited"));
    assert_ne!(agent(&cluster), old);
    expect_going_on(&cluster);
    open_gate(&cluster, "a");
    expect_end(&cluster);
    assert!(reload.wait().unwrap().success());
    cluster.stop();
}

/// The worker is the old master's.
#[test]
fn an_upgrade() {
    let cluster = plan("a job=gated disabled").upgradable().start();
    begin(&cluster, 1);
    let ran = cluster.verb(&["upgrade"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    expect_going_on(&cluster);
    assert_eq!(schedule(&cluster, "a")["running"][0]["elsewhere"], true);
    open_gate(&cluster, "a");
    expect_end(&cluster);
    assert_eq!(cluster.follow().code(), Some(0));
    cluster.stop();
}

/// What the old master's workers do not tell any more is not waited for.
#[test]
fn an_upgrade_whose_old_worker_dies() {
    let cluster = plan("a job=gated disabled").upgradable().start();
    begin(&cluster, 1);
    let worker = begun(&cluster)[0].pid;
    let ran = cluster.verb(&["upgrade"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    expect_going_on(&cluster);
    kill(worker, Signal::KILL);
    assert_eq!(cluster.follow().code(), Some(0));
    expect_outcome(&cluster, "a", "unobserved");
    open_gate(&cluster, "a");
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    cluster.stop();
}

/// Schedules that are due again and again meanwhile, with each way of dealing with that.
#[test]
fn times_that_come_meanwhile() {
    for (overlap, waits) in [("", false), ("queue", true)] {
        let cluster = plan(&format!("a every=50 job=gated {overlap}")).start();
        wait_begun(&cluster, 1);
        kill_agent(&cluster);
        cluster.expect("some are skipped", || {
            schedule(&cluster, "a")["skipped"].as_u64() >= Some(3)
        });
        assert_eq!(schedule(&cluster, "a")["queued"], waits);
        assert_eq!(begun(&cluster).len(), 1, "side by side");
        open_gate(&cluster, "a");
        wait_begun(&cluster, 2);
        let steps: Vec<_> = lines(&cluster).into_iter().map(|l| l.step).collect();
        assert_eq!(&steps[..3], ["begin", "end", "begin"]);
        cluster.stop();
    }
}

/// Where the author allows it nobody waits for anybody, whoever the agent is.
#[test]
fn times_that_come_meanwhile_where_that_is_allowed() {
    let cluster = plan("a every=50 job=gated allow").start();
    wait_begun(&cluster, 1);
    kill_agent(&cluster);
    let count = begun(&cluster).len();
    wait_begun(&cluster, count + 2);
    cluster.expect("all of them are known", || {
        let running = schedule(&cluster, "a")["running"].as_array().map(Vec::len);
        running >= Some(count + 2)
    });
    open_gate(&cluster, "a");
    expect_outcome(&cluster, "a", "succeeded");
    cluster.stop();
}

#[test]
fn all_workers_are_awaited() {
    let cluster = plan("a job=gated all disabled").start();
    begin(&cluster, 2);
    kill_agent(&cluster);
    expect_going_on(&cluster);
    // One of them dies; the other one goes on.
    kill(begun(&cluster)[0].pid, Signal::KILL);
    cluster.wait("worker-replaced");
    expect_going_on(&cluster);
    open_gate(&cluster, "a");
    let run = expect_outcome(&cluster, "a", "failed");
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.starts_with("1 of 2 workers"), "{run}");
    cluster.stop();
}

#[test]
fn a_worker_that_dies_after_its_agent() {
    for (retry, outcome) in [("", "lost"), ("retry", "succeeded")] {
        let cluster = plan(&format!("a job=gated {retry} disabled")).start();
        begin(&cluster, 1);
        kill_agent(&cluster);
        expect_going_on(&cluster);
        let worker = begun(&cluster)[0].pid;
        kill(worker, Signal::KILL);
        if retry.is_empty() {
            expect_outcome(&cluster, "a", outcome);
        } else {
            let again = wait_begun(&cluster, 2);
            assert_eq!((again[1].number, again[1].attempt), (1, 2));
            open_gate(&cluster, "a");
            expect_outcome(&cluster, "a", outcome);
        }
        cluster.wait("worker-replaced");
        cluster.stop();
    }
}

/// Nobody is in office when the run ends.
#[test]
fn an_end_between_two_agents() {
    let plan = plan("a job=gated disabled");
    let fault = plan.path("fault");
    let cluster = plan.env("PLAYGROUND_AGENT_FAULT_FILE", &fault).start();
    begin(&cluster, 1);
    fs::write(&fault, "fail").unwrap();
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-exited", 2);
    open_gate(&cluster, "a");
    cluster.expect("the run has ended", || lines(&cluster).len() == 2);
    let mark = cluster.mark();
    fs::remove_file(&fault).unwrap();
    cluster.wait_since(mark, "agent-ready");
    expect_end(&cluster);
    cluster.stop();
}

/// What has been run is shown by whoever is the agent, and the numbers go on.
#[test]
fn history_outlives_agents() {
    let cluster = plan("a disabled;b job=fail disabled agent")
        .upgradable()
        .start();
    for _ in 0..2 {
        let ran = cluster.verb(&["schedule", "run", "a"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let ran = cluster.verb(&["schedule", "run", "b"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
    }
    let history = |name| schedule(&cluster, name)["history"].clone();
    let before = ["a", "b"].map(history);
    assert_eq!(before[0][0]["outcome"], "succeeded", "{before:?}");
    assert_eq!(before[1][1]["reason"], "this was asked for", "{before:?}");
    kill_agent(&cluster);
    assert_eq!(["a", "b"].map(history), before);
    let ran = cluster.verb(&["reload", "--agent"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(["a", "b"].map(history), before);
    cluster.upgrade();
    cluster.expect("the new agent has told", || history("a") == before[0]);
    assert_eq!(["a", "b"].map(history), before);
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(history("a")[0]["number"], 3);
    assert_eq!(history("a")[1], before[0][0]);
    cluster.stop();
}
