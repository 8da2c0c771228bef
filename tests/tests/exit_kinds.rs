//! How a process ended: one kind, told alike by the events, the status and the metrics.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::Write as _;

use hatchery_tests::process::{kill, limit_descriptors};
use hatchery_tests::{Cluster, Plan, link, playground, step};
use rustix::process::Signal;
use serde_json::Value;

/// What is told of a seat in the status.
fn seat<'s>(status: &'s Value, role: &str, slot: Option<u32>) -> &'s Value {
    match slot {
        Some(slot) => &status["workers"][usize::try_from(slot).unwrap()],
        None => &status[role],
    }
}

/// Something happens, and a process of this role ends in this way, for a reason with this word.
#[track_caller]
fn ends(plan: Plan, role: &str, kind: &str, word: &str, happen: impl FnOnce(&Cluster)) {
    let cluster = plan.start();
    let series = format!("hatchery_exits_total{{role=\"{role}\",kind=\"{kind}\"}}");
    assert_eq!(cluster.metrics().count(&series), 0);
    happen(&cluster);
    let name = format!("{role}-exited");
    let exited = cluster.wait_where(&format!("{name} with {kind}"), |event| {
        event.event == name && event.exit.as_deref() == Some(kind)
    });
    assert!(exited.why().contains(word), "no `{word}` in {exited:?}");
    assert!(cluster.metrics().count(&series) >= 1);
    cluster.expect_status("the seat tells of it", |status| {
        let seat = seat(status, role, exited.slot);
        let told = seat["last_exit"]
            .as_str()
            .is_some_and(|why| why.contains(word));
        told && seat["last_exit_kind"] == kind
    });
    cluster.expect_orderly_end();
}

fn worker(kind: &str, word: &str, happen: impl FnOnce(&Cluster)) {
    ends(playground!(), "worker", kind, word, happen);
}

fn agent(kind: &str, word: &str, happen: impl FnOnce(&Cluster)) {
    ends(playground!(), "agent", kind, word, happen);
}

/// The worker in slot 1 is asked for this, and does not live to answer.
fn asked(path: &str) -> impl FnOnce(&Cluster) {
    let path = path.to_owned();
    move |cluster| drop(cluster.connect_to(1).0.get(&path))
}

fn signalled(signal: Signal) -> impl FnOnce(&Cluster) {
    move |cluster| kill(cluster.worker(1), signal)
}

macro_rules! rows {
    ($( $name:ident => $check:expr; )*) => {
        $(
            #[test]
            fn $name() {
                $check;
            }
        )*
    };
}

rows! {
    a_worker_that_leaves_by_itself_was_orderly =>
        worker("orderly", "exited with code 0", signalled(Signal::TERM));
    a_worker_that_exits_has_a_code =>
        worker("code", "exited with code 5", asked("/exit/5"));
    a_worker_that_is_killed_ended_by_a_signal =>
        worker("signal", "killed by signal 9 (SIGKILL)", signalled(Signal::KILL));
    a_worker_that_crashes_ended_by_a_signal =>
        worker("signal", "killed by signal 11 (SIGSEGV)", asked("/segv"));
    an_agent_that_is_killed_ended_by_a_signal =>
        agent("signal", "killed by signal 9", |cluster| kill(cluster.agent(), Signal::KILL));
    an_agent_that_leaves_by_itself_was_orderly =>
        agent("orderly", "exited with code 0", |cluster| kill(cluster.agent(), Signal::TERM));
}

#[test]
fn a_worker_that_stands_still_hung() {
    let plan = playground!().flag("--worker-timeout", "3s");
    ends(
        plan,
        "worker",
        "hung",
        "did not answer",
        signalled(Signal::STOP),
    );
}

#[test]
fn a_worker_that_is_never_ready_timed_out() {
    let plan = playground!().fragile().flag("--worker-start-timeout", "2s");
    ends(
        plan,
        "worker",
        "start-timeout",
        "did not finish within",
        |cluster| {
            cluster.spoil_starts("hang");
            kill(cluster.worker(1), Signal::KILL);
        },
    );
}

#[test]
fn a_worker_that_has_served_enough_was_recycled() {
    let plan = playground!()
        .flag("--max-requests", "1")
        .flag("--recycle-jitter", "0");
    ends(plan, "worker", "recycled", "requests", |cluster| {
        cluster.get("/");
    });
}

#[test]
fn workers_that_a_reload_replaces_were_replaced() {
    worker(
        "replaced",
        "a worker of generation 2 took its place",
        |cluster| {
            assert_eq!(cluster.verb(&["reload"]).code, Some(0));
        },
    );
}

#[test]
fn a_worker_that_speaks_nonsense_lost_its_link() {
    worker("lost-link", "99", |cluster| {
        let mut voice = link::of_child(cluster.worker(1)).unwrap();
        voice.write_all(&[0, 0, 0, 0, 99, 0]).unwrap();
    });
}

#[test]
fn a_worker_that_cannot_be_created_was_never_there() {
    worker("spawn-failed", "could not be created", |cluster| {
        let master = cluster.master();
        limit_descriptors(master, 5);
        kill(cluster.worker(1), Signal::KILL);
        let death = step("worker-exited").slot(1);
        cluster.wait_nth(death, 2);
        limit_descriptors(master, 1024);
    });
}
