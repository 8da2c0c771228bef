//! Every way to die, in every phase, of both roles: one defined outcome each.
//!
//! Before egg-ready the first death ends the start: everything is stopped in order, the exit code is 3 and
//! the operator is told who, why and in which hook. After it the dead are replaced and nobody else notices.
//! During a stop nobody is replaced, and the stop ends as it would have.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::time::Duration;

use hatchery_tests::event::{count, position};
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Ended, Plan, http, playground, step};
use rustix::process::Signal;

/// One test for each row of a table.
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

// Before ready.

/// A start that ends with code 3, whose message has all these words.
fn start_fails(plan: Plan, words: &[&str]) -> Ended {
    let ended = plan.run_to_end();
    ended
        .expect_code(3)
        .expect_stderr(words)
        .expect_no("egg-ready");
    told_why(&ended, words);
    ended
}

/// The events tell the same story as standard error.
fn told_why(ended: &Ended, words: &[&str]) {
    let stopping = &ended.events[position(&ended.events, "stopping")];
    for word in words {
        assert!(stopping.why().contains(word), "no `{word}` in {stopping:?}");
    }
    assert_eq!(ended.events[ended.events.len() - 1].event, "stopped");
}

fn agent_fails_to_start(what: &str, words: &[&str]) {
    let plan = playground!()
        .agent_start(what)
        .flag("--agent-start-timeout", "1s");
    let ended = start_fails(plan, words);
    ended.expect_stderr(&["agent"]).expect_no("worker-spawned");
    assert_eq!(
        count(&ended.events, "agent-spawned"),
        1,
        "it is not tried again"
    );
}

fn worker_fails_to_start(what: &str, words: &[&str]) {
    let plan = playground!()
        .workers(3)
        .worker_start(what)
        .only_slot(1)
        .flag("--worker-start-timeout", "1s");
    let ended = start_fails(plan, words);
    ended.expect_stderr(&["worker 1"]);
    assert!(
        count(&ended.events, step("worker-spawned").slot(1)) == 1,
        "it is not tried again"
    );
    let agent = &ended.events[position(&ended.events, "agent-exited")];
    assert_eq!(
        agent.why(),
        "exited with code 0",
        "the others are stopped in order"
    );
    let agent_drained = position(&ended.events, step("draining").role("agent"));
    for slot in 0..3 {
        let spawned = count(&ended.events, step("worker-spawned").slot(slot));
        let exited = count(&ended.events, step("worker-exited").slot(slot));
        assert_eq!(spawned, exited, "slot {slot}");
        if exited == 1 {
            assert!(position(&ended.events, step("worker-exited").slot(slot)) < agent_drained);
        }
    }
}

rows! {
    an_agent_whose_start_fails_ends_the_start =>
        agent_fails_to_start("fail", &["Agent::start failed"]);
    an_agent_whose_start_panics_ends_the_start =>
        agent_fails_to_start("panic", &["Agent::start panicked"]);
    an_agent_whose_start_hangs_ends_the_start =>
        agent_fails_to_start("hang", &["Agent::start did not finish within 1s"]);
    an_agent_that_exits_in_start_ends_the_start =>
        agent_fails_to_start("exit:7", &["exited with code 7"]);
    an_agent_that_exits_with_success_in_start_ends_the_start =>
        agent_fails_to_start("exit:0", &["exited with code 0"]);
    a_worker_whose_start_fails_ends_the_start =>
        worker_fails_to_start("fail", &["Worker::start failed"]);
    a_worker_whose_start_panics_ends_the_start =>
        worker_fails_to_start("panic", &["Worker::start panicked"]);
    a_worker_whose_start_hangs_ends_the_start =>
        worker_fails_to_start("hang", &["Worker::start did not finish within 1s"]);
    a_worker_that_exits_in_start_ends_the_start =>
        worker_fails_to_start("exit:7", &["exited with code 7"]);
    a_worker_that_exits_with_success_in_start_ends_the_start =>
        worker_fails_to_start("exit:0", &["exited with code 0"]);
}

#[test]
fn an_agent_killed_in_start_ends_the_start() {
    let cluster = playground!().agent_start("hang").launch();
    kill(cluster.wait("agent-spawned").pid.unwrap(), Signal::KILL);
    let ended = cluster.expect_exit();
    ended.expect_code(3).expect_no("worker-spawned");
    told_why(&ended, &["agent failed to start", "signal 9"]);
}

/// Suspended, a process cannot even notice that its own start takes too long: the master does.
fn suspended_in_start(plan: Plan, who: impl FnOnce(&Cluster) -> u32, words: &[&str]) {
    let cluster = plan.launch();
    let pid = who(&cluster);
    kill(pid, Signal::STOP);
    let ended = cluster.expect_exit();
    ended.expect_code(3).expect_no("egg-ready");
    told_why(&ended, words);
    told_why(&ended, &["start timeout", "signal 9"]);
}

#[test]
fn an_agent_that_is_suspended_in_start_ends_the_start() {
    let plan = playground!()
        .agent_start("hang")
        .flag("--agent-start-timeout", "500ms");
    let agent = |cluster: &Cluster| cluster.wait_hooks("start", 1)[0].pid;
    suspended_in_start(plan, agent, &["agent failed to start"]);
}

#[test]
fn a_worker_that_is_suspended_in_start_ends_the_start() {
    let plan = playground!()
        .worker_start("hang")
        .only_slot(1)
        .flag("--worker-start-timeout", "500ms");
    let worker = |cluster: &Cluster| {
        let hooks = cluster.wait_hooks("start", 3);
        hooks.iter().find(|hook| hook.slot == Some(1)).unwrap().pid
    };
    suspended_in_start(plan, worker, &["worker 1 failed to start"]);
}

#[test]
fn an_agent_killed_while_workers_start_ends_the_start() {
    let cluster = playground!().worker_start("hang").launch();
    cluster.wait(step("worker-spawned").slot(1));
    kill(cluster.agent(), Signal::KILL);
    let ended = cluster.expect_exit();
    ended.expect_code(3).expect_no("egg-ready");
    told_why(&ended, &["agent failed to start", "signal 9"]);
    assert_eq!(count(&ended.events, "agent-spawned"), 1);
}

#[test]
fn a_worker_killed_in_start_ends_the_start() {
    let cluster = playground!().worker_start("hang").launch();
    kill(
        cluster.wait(step("worker-spawned").slot(1)).pid.unwrap(),
        Signal::KILL,
    );
    let ended = cluster.expect_exit();
    ended.expect_code(3).expect_no("egg-ready");
    told_why(&ended, &["worker 1 failed to start", "signal 9"]);
}

#[test]
fn a_ready_worker_killed_while_another_starts_ends_the_start() {
    let cluster = playground!().worker_start("hang").only_slot(1).launch();
    kill(
        cluster.wait(step("worker-ready").slot(0)).pid.unwrap(),
        Signal::KILL,
    );
    let ended = cluster.expect_exit();
    ended.expect_code(3).expect_no("egg-ready");
    told_why(&ended, &["worker 0 failed to start", "signal 9"]);
}

// After ready.

/// Kills the worker in slot 1 of 3 in some way; everything is as before, with another process in its place.
fn worker_is_replaced_after(die: impl FnOnce(&Cluster), why: &str) {
    let cluster = playground!().workers(3).start();
    cluster.wait_hooks("egg_ready", 4);
    let before = cluster.everybody();
    let mark = cluster.mark();
    die(&cluster);
    let exited = cluster.wait_since(mark, "worker-exited");
    assert_eq!((exited.slot, exited.pid), (Some(1), Some(before[2])));
    assert!(exited.why().contains(why), "{exited:?}");
    let replaced = cluster.wait_since(mark, "worker-replaced");
    assert_eq!(replaced.slot, Some(1), "the same slot");
    let after = cluster.everybody();
    assert_ne!(after[2], before[2], "another process");
    assert_eq!(
        (after[0], after[1], after[3]),
        (before[0], before[1], before[3]),
        "nobody else"
    );
    let (_, who) = cluster.connect_to(1);
    assert_eq!((who.pid, who.generation), (after[2], 1));
    assert!(who.incarnation > 4, "a number that nobody had");
    let hooks = cluster.wait_hooks("egg_ready", 5);
    assert_eq!(
        hooks[4].pid, after[2],
        "it is told that everybody is ready, and nobody else is"
    );
    assert_eq!(cluster.status()["state"], "ready");
    assert_eq!(cluster.status()["workers"][1]["restarts"], 1);
    assert!(
        cluster.status()["workers"][1]["last_exit"]
            .as_str()
            .unwrap()
            .contains(why)
    );
    let ended = cluster.stop();
    ended.expect_no("agent-replaced");
    assert_eq!(count(&ended.events, "worker-exited"), 4);
}

fn by_request(path: &'static str) -> impl FnOnce(&Cluster) {
    move |cluster| {
        let (mut connection, _) = cluster.connect_to(1);
        // The answer is lost with the process.
        connection.ask(path).unwrap();
        connection.drain();
    }
}

fn by_signal(signal: Signal) -> impl FnOnce(&Cluster) {
    move |cluster| kill(cluster.worker(1), signal)
}

rows! {
    a_worker_that_is_killed_is_replaced =>
        worker_is_replaced_after(by_signal(Signal::KILL), "killed by signal 9 (SIGKILL)");
    a_worker_that_aborts_is_replaced =>
        worker_is_replaced_after(by_request("/abort"), "killed by signal 6 (SIGABRT)");
    a_worker_that_crashes_is_replaced =>
        worker_is_replaced_after(by_request("/segv"), "killed by signal 11 (SIGSEGV)");
    a_worker_that_exits_is_replaced =>
        worker_is_replaced_after(by_request("/exit/7"), "exited with code 7");
    a_worker_that_exits_with_success_is_replaced =>
        worker_is_replaced_after(by_request("/exit/0"), "exited with code 0");
    a_worker_that_is_terminated_from_outside_is_replaced =>
        worker_is_replaced_after(by_signal(Signal::TERM), "exited with code 0");
    a_worker_that_is_quit_from_outside_is_replaced =>
        worker_is_replaced_after(by_signal(Signal::QUIT), "killed by signal 3 (SIGQUIT)");
}

#[test]
fn a_panic_in_a_handler_costs_one_request() {
    let cluster = playground!().start();
    let (mut connection, who) = cluster.connect_to(0);
    connection.ask("/panic").unwrap();
    // A server may answer 500 or hang up; what counts is that nobody else notices.
    connection.drain();
    let (_, again) = cluster.connect_to(0);
    assert_eq!(again, who);
    cluster.stop();
}

/// Kills the agent; it is replaced while the workers serve on.
fn agent_is_replaced_after(signal: Signal, why: &str) {
    let cluster = playground!().start();
    cluster.wait_hooks("egg_ready", 3);
    let before = cluster.everybody();
    let mark = cluster.mark();
    let mut connections = [cluster.connect_to(0).0, cluster.connect_to(1).0];
    kill(before[0], signal);
    let exited = cluster.wait_since(mark, "agent-exited");
    assert_eq!(exited.pid, Some(before[0]));
    assert!(exited.why().contains(why), "{exited:?}");
    for (slot, connection) in (0..).zip(&mut connections) {
        assert_eq!(
            connection.whoami().unwrap().slot,
            slot,
            "a connection survives"
        );
    }
    cluster.wait_since(mark, "agent-ready");
    let hooks = cluster.wait_hooks("egg_ready", 4);
    assert_eq!(
        (hooks[3].role.as_str(), hooks[3].pid),
        ("agent", cluster.agent())
    );
    assert_ne!(cluster.agent(), before[0]);
    assert_eq!(cluster.everybody()[1..], before[1..], "the workers stay");
    let ended = cluster.stop();
    assert_eq!(count(&ended.events, "worker-exited"), 2);
}

rows! {
    an_agent_that_is_killed_is_replaced =>
        agent_is_replaced_after(Signal::KILL, "killed by signal 9 (SIGKILL)");
    an_agent_that_is_terminated_from_outside_is_replaced =>
        agent_is_replaced_after(Signal::TERM, "exited with code 0");
    an_agent_that_aborts_is_replaced =>
        agent_is_replaced_after(Signal::ABORT, "killed by signal 6 (SIGABRT)");
}

// In egg_ready: after ready, so it is healed, and comes again, so it is a crash loop.

fn egg_ready_of_worker_fails(what: &str, why: &str) {
    let cluster = playground!()
        .env("PLAYGROUND_WORKER_EGG_READY", what)
        .only_slot(1)
        .flag("--worker-start-timeout", "1s")
        .start();
    let first = cluster.wait("worker-exited");
    assert!(first.why().contains(why), "{first:?}");
    assert_eq!(first.slot, Some(1));
    cluster.wait(step("worker-replaced").slot(1));
    cluster.wait_nth(step("worker-exited").slot(1), 2);
    assert_eq!(
        cluster.connect_to(0).1.pid,
        cluster.worker(0),
        "slot 0 serves all the while"
    );
    assert_eq!(count(&cluster.events(), step("worker-spawned").slot(0)), 1);
    assert_eq!(count(&cluster.events(), "agent-spawned"), 1);
    cluster.expect_orderly_end();
}

fn egg_ready_of_agent_fails(what: &str, why: &str) {
    let cluster = playground!()
        .env("PLAYGROUND_AGENT_EGG_READY", what)
        .flag("--agent-start-timeout", "1s")
        .start();
    let first = cluster.wait("agent-exited");
    assert!(first.why().contains(why), "{first:?}");
    cluster.wait_nth("agent-exited", 2);
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(count(&cluster.events(), "worker-spawned"), 2);
    cluster.expect_orderly_end();
}

rows! {
    a_worker_whose_egg_ready_fails_is_replaced =>
        egg_ready_of_worker_fails("fail", "Worker::egg_ready failed");
    a_worker_whose_egg_ready_panics_is_replaced =>
        egg_ready_of_worker_fails("panic", "Worker::egg_ready panicked");
    a_worker_whose_egg_ready_hangs_is_replaced =>
        egg_ready_of_worker_fails("hang", "Worker::egg_ready did not finish within 1s");
    a_worker_that_exits_in_egg_ready_is_replaced =>
        egg_ready_of_worker_fails("exit:7", "exited with code 7");
    an_agent_whose_egg_ready_fails_is_replaced =>
        egg_ready_of_agent_fails("fail", "Agent::egg_ready failed");
    an_agent_whose_egg_ready_panics_is_replaced =>
        egg_ready_of_agent_fails("panic", "Agent::egg_ready panicked");
    an_agent_whose_egg_ready_hangs_is_replaced =>
        egg_ready_of_agent_fails("hang", "Agent::egg_ready did not finish within 1s");
    an_agent_that_exits_in_egg_ready_is_replaced =>
        egg_ready_of_agent_fails("exit:7", "exited with code 7");
}

// A replacement that cannot start: the others serve on, and it is tried again, later and later.

fn replacement_fails_to_start(what: &str, why: &str) {
    let plan = playground!().flag("--worker-start-timeout", "1s");
    let fault = plan.path("fault");
    let cluster = plan.env("PLAYGROUND_FAULT_FILE", &fault).start();
    std::fs::write(&fault, what).unwrap();
    let mark = cluster.mark();
    kill(cluster.worker(1), Signal::KILL);
    let dead = |nth| cluster.wait_nth(step("worker-exited").slot(1), nth);
    assert!(dead(2).why().contains(why), "{:?}", dead(2));
    assert_eq!(
        cluster.connect_to(0).1.pid,
        cluster.worker(0),
        "slot 0 serves all the while"
    );
    dead(3);
    assert_eq!(cluster.status()["state"], "degraded");
    assert_eq!(count(&cluster.events()[mark..], "worker-replaced"), 0);
    std::fs::remove_file(&fault).unwrap();
    cluster.wait_since(mark, step("worker-replaced").slot(1));
    assert_eq!(cluster.connect_to(1).1.pid, cluster.worker(1));
    cluster.stop();
}

rows! {
    a_replacement_whose_start_fails_is_tried_again =>
        replacement_fails_to_start("fail", "Worker::start failed");
    a_replacement_whose_start_panics_is_tried_again =>
        replacement_fails_to_start("panic", "Worker::start panicked");
    a_replacement_whose_start_hangs_is_tried_again =>
        replacement_fails_to_start("hang", "Worker::start did not finish within 1s");
    a_replacement_that_exits_in_start_is_tried_again =>
        replacement_fails_to_start("exit:7", "exited with code 7");
}

// During a stop.

/// A cluster whose stop goes on until somebody dies: before_close hangs. Returns it in mid-stop.
fn stopping_cluster() -> Cluster {
    let cluster = playground!()
        .before_close("slow:1000")
        .flag("--lame-duck", "0s")
        .start();
    cluster.signal(Signal::TERM);
    cluster
}

fn stop_ends_all_the_same(cluster: &Cluster) -> Ended {
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    let stopping = position(&ended.events, "stopping");
    for event in &ended.events[stopping..] {
        assert!(
            !event.event.ends_with("-spawned"),
            "nobody is replaced in a stop: {event:?}"
        );
    }
    assert_eq!(count(&ended.events, "worker-exited"), 2);
    assert_eq!(count(&ended.events, "agent-exited"), 1);
    ended
}

#[test]
fn a_worker_killed_while_it_drains_is_not_replaced() {
    let cluster = stopping_cluster();
    cluster.wait_hooks("before_close", 2);
    kill(cluster.worker(0), Signal::KILL);
    let ended = stop_ends_all_the_same(&cluster);
    let exited = &ended.events[position(&ended.events, step("worker-exited").slot(0))];
    assert!(exited.why().contains("signal 9"), "{exited:?}");
    assert_eq!(
        ended.hooks("before_close").len(),
        3,
        "the agent closes in order"
    );
}

#[test]
fn an_agent_killed_while_workers_drain_is_not_replaced() {
    let cluster = stopping_cluster();
    cluster.wait_hooks("before_close", 2);
    kill(cluster.agent(), Signal::KILL);
    let ended = stop_ends_all_the_same(&cluster);
    let closes = ended.hooks("before_close");
    assert!(closes.iter().all(|(_, hook)| hook.role == "worker"));
    let exited = &ended.events[position(&ended.events, step("worker-exited").slot(1))];
    assert_eq!(exited.why(), "exited with code 0", "the workers finish");
}

#[test]
fn an_agent_killed_while_it_drains_ends_the_stop() {
    let cluster = stopping_cluster();
    cluster.wait_hooks("before_close", 3);
    kill(cluster.agent(), Signal::KILL);
    let ended = stop_ends_all_the_same(&cluster);
    let exited = &ended.events[position(&ended.events, "agent-exited")];
    assert!(exited.why().contains("signal 9"), "{exited:?}");
}

#[test]
fn a_worker_that_died_a_moment_before_the_stop_is_not_replaced_in_it() {
    let cluster = playground!().start();
    // Twice, so that the replacement has to wait, and the stop comes in that time.
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait_nth(step("worker-exited").slot(0), 2);
    let spawned = count(&cluster.events(), "worker-spawned");
    let ended = cluster.stop();
    assert_eq!(count(&ended.events, "worker-spawned"), spawned);
}

#[test]
fn an_agent_that_died_a_moment_before_the_stop_is_not_replaced_in_it() {
    let cluster = playground!().start();
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-exited", 2);
    let ended = cluster.stop();
    assert_eq!(count(&ended.events, "agent-spawned"), 2);
}

/// before_close goes wrong in both roles; the stop takes at most its time, and its end is orderly.
fn before_close_goes_wrong(what: &str, time: &str, most: Duration) {
    let cluster = playground!()
        .before_close(what)
        .flag("--drain-timeout", time)
        .flag("--lame-duck", "0s")
        .start();
    let ended = cluster.expect_orderly_end();
    assert_eq!(
        ended.hooks("before_close").len(),
        3,
        "tried once by everybody"
    );
    let agent_drained = position(&ended.events, step("draining").role("agent"));
    for slot in 0..2 {
        let gone = position(&ended.events, step("worker-exited").slot(slot));
        assert!(
            gone < agent_drained,
            "the agent closes when the workers are gone"
        );
    }
    ended.expect_stop_within(most);
}

rows! {
    // One deadline for the workers, the promised minimum for the agent, and time for the kill.
    a_stop_ends_by_its_deadline_when_before_close_hangs =>
        before_close_goes_wrong("hang", "1s", Duration::from_secs(1 + 2 + 2));
    a_stop_goes_on_when_before_close_panics =>
        before_close_goes_wrong("panic", "20s", Duration::ZERO);
}

/// Somebody is suspended and cannot leave; the stop kills him when his time is over.
fn stop_with_a_suspended(who: impl FnOnce(&Cluster) -> u32) {
    let cluster = playground!().flag("--drain-timeout", "500ms").start();
    let pid = who(&cluster);
    kill(pid, Signal::STOP);
    let ended = cluster.expect_orderly_end();
    let exited = ended
        .events
        .iter()
        .find(|event| event.event.ends_with("-exited") && event.pid == Some(pid));
    let why = exited.unwrap().why();
    assert!(
        why.contains("did not finish in time") && why.contains("signal 9"),
        "{why}"
    );
    // Its time, the time until a kill, and the agent's own minimum.
    ended.expect_stop_within(Duration::from_millis(500 + 2000 + 2000));
}

rows! {
    a_suspended_worker_does_not_hold_up_a_stop =>
        stop_with_a_suspended(|cluster| cluster.worker(0));
    a_suspended_agent_does_not_hold_up_a_stop =>
        stop_with_a_suspended(Cluster::agent);
}

#[test]
fn a_request_fails_with_its_worker_and_with_no_other() {
    let cluster = playground!().start();
    let (mut doomed, _) = cluster.connect_to(0);
    let (mut other, _) = cluster.connect_to(1);
    doomed.ask("/sleep/60000").unwrap();
    other.ask("/sleep/300").unwrap();
    kill(cluster.worker(0), Signal::KILL);
    assert!(doomed.drain().is_empty(), "it is cut off, not left hanging");
    assert_eq!(other.receive().unwrap().status, 200);
    assert_eq!(http::get(cluster.address(), "/").unwrap().status, 200);
    cluster.wait(step("worker-replaced").slot(0));
    cluster.stop();
}
