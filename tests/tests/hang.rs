//! Processes that stand still: found out, asked what they do, killed and replaced. And those that only seem to.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::time::{Duration, Instant};

use hatchery_tests::event::{Event, count};
use hatchery_tests::listeners::queued;
use hatchery_tests::process::{self, kill};
use hatchery_tests::{Cluster, Crowd, Plan, Visitors, each_strategy, http, playground, step, wait};
use nix::sys::ptrace;
use nix::unistd::Pid;
use rustix::process::Signal;

/// The least that can be set.
const TIMEOUT: Duration = Duration::from_secs(3);

fn impatient() -> Plan {
    playground!().flag("--worker-timeout", "3s")
}

/// Waits until the process was found out and is gone. How soon that is, the unit tests of the supervisor tell: a
/// machine that is busy with other things gives time to everybody.
#[track_caller]
fn expect_hung(cluster: &Cluster, pid: u32) -> Event {
    cluster.wait(step("hung").pid(pid));
    let exited = cluster.wait_where("end of the process that hangs", |event| {
        event.event.ends_with("-exited") && event.pid == Some(pid)
    });
    assert_eq!(exited.exit.as_deref(), Some("hung"), "{exited:?}");
    exited
}

/// What the log has about a process that hung, in one piece.
fn dump(cluster: &Cluster, pid: u32) -> String {
    let log = cluster.stderr();
    let begin = log.find(&format!("(pid {pid}) is doing:")).unwrap();
    let mut lines = log[begin..].lines();
    let head = lines.next().into_iter();
    let block = head.chain(lines.take_while(|line| line.starts_with("  ")));
    block.collect::<Vec<_>>().join("\n")
}

/// However connections are shared: who comes while a worker spins is served, by another one or, if it had been
/// promised to the worker that spins, when that one is gone.
fn spinning(strategy: &str) {
    let cluster = impatient().strategy(strategy).start();
    let hung = cluster.worker(1);
    let _spinning = cluster.spin(1);
    let mut crowd = Crowd::gather(&cluster, 40);
    let visitors = Visitors::begin(cluster.address(), 4);
    expect_hung(&cluster, hung);
    cluster.wait(step("worker-replaced").slot(1));
    let answers = crowd.answers();
    assert!(answers.iter().all(|who| who.pid != hung), "{answers:?}");
    visitors.end_well();
    let status = cluster.status();
    assert_eq!(status["workers"][1]["last_exit_kind"], "hung");
    assert_eq!(status["workers"][1]["restarts"], 1);
    assert_eq!(status["workers"][0]["restarts"], 0);
    let (_, who) = cluster.connect_to(1);
    assert_eq!(who.pid, cluster.worker(1));
    cluster.stop();
}

each_strategy!(a_worker_that_spins_is_killed_and_replaced_and_the_others_serve => spinning);

#[test]
fn a_worker_with_all_of_several_threads_spinning_is_killed() {
    let cluster = impatient().workers(1).flag("--threads", "2").start();
    let hung = cluster.worker(0);
    let mut connections: Vec<_> = (0..2).map(|_| cluster.connect()).collect();
    for connection in &mut connections {
        connection.ask("/spin/3600000").unwrap();
    }
    let exited = expect_hung(&cluster, hung);
    assert!(exited.why().contains("GET /spin/3600000"), "{exited:?}");
    cluster.wait(step("worker-replaced").slot(0));
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

#[test]
fn a_worker_that_is_stopped_is_killed_and_no_client_notices() {
    let cluster = impatient().strategy("shared").start();
    let visitors = Visitors::begin(cluster.address(), 8);
    let hung = cluster.worker(0);
    let before = visitors.answered();
    let since = Instant::now();
    kill(hung, Signal::STOP);
    let exited = expect_hung(&cluster, hung);
    assert!(exited.why().contains("it is stopped"), "{exited:?}");
    cluster.wait(step("worker-replaced").slot(0));
    assert!(visitors.answered() > before);
    for visit in visitors.end() {
        // Whoever had been accepted by the worker when it was stopped was in its hands.
        let in_its_hands =
            visit.begun <= since + Duration::from_millis(50) && visit.begun + visit.took > since;
        assert!(visit.outcome.is_ok() || in_its_hands, "{visit:?}");
    }
    let dump = dump(&cluster, hung);
    assert!(dump.contains("the whole process stands still"), "{dump}");
    assert!(dump.contains("T (stopped)"), "{dump}");
    cluster.stop();
}

/// With a queue of its own for each worker nobody else takes who waits there, until its worker is given up.
#[test]
fn who_waits_in_the_queue_of_a_stopped_worker_is_served_when_it_is_killed() {
    let cluster = impatient().strategy("reuse-port").start();
    let hung = cluster.worker(0);
    kill(hung, Signal::STOP);
    cluster.expect("it is stopped", || {
        process::Process::find(hung).is_some_and(|process| process.state == 'T')
    });
    let mut crowd = Crowd::gather(&cluster, 60);
    let waiting = queued(cluster.address());
    // Unless it took so long to come that it is over.
    let over = count(&cluster.events(), "hung") > 0;
    assert!(waiting > 0 || over, "all of 60 came to the other worker");
    expect_hung(&cluster, hung);
    let answers = crowd.answers();
    assert!(answers.iter().all(|who| who.pid != hung), "{answers:?}");
    cluster.wait(step("worker-replaced").slot(0));
    cluster.stop();
}

#[test]
fn a_request_that_waits_for_long_is_no_hang() {
    let cluster = impatient().workers(1).start();
    let worker = cluster.worker(0);
    let mut waiting = cluster.connect();
    waiting.ask("/sleep/8000").unwrap();
    assert_eq!(waiting.receive().unwrap().text(), "slept 8000 ms");
    assert_eq!(count(&cluster.events(), "worker-exited"), 0);
    assert_eq!(cluster.worker(0), worker);
    cluster.stop();
}

#[test]
fn what_a_worker_was_doing_is_told() {
    let cluster = impatient().workers(1).start();
    let hung = cluster.worker(0);
    let mut waiting = cluster.connect();
    waiting.ask("/sleep/3600000?password=swordfish").unwrap();
    let mut early = cluster.connect();
    early.get("/whoami").unwrap();
    let mut blocking = cluster.connect();
    blocking.ask("/block/3600000?password=swordfish").unwrap();
    let exited = expect_hung(&cluster, hung);
    let dump = dump(&cluster, hung);
    for part in [
        "its runtime last ran 3.",
        "3 connections, 2 requests in flight",
        "request GET /sleep/3600000, since ",
        "request GET /block/3600000, since ",
        "hatchery-watch",
        "playgroun:w0",
        "S (sleeping)",
    ] {
        assert!(dump.contains(part), "no {part} in {dump}");
    }
    assert!(!dump.contains("/whoami"), "that one was answered: {dump}");
    assert!(!cluster.stderr().contains("swordfish"), "{dump}");
    assert!(
        exited.why().contains("its longest request is GET /"),
        "{exited:?}"
    );
    cluster.stop();
}

#[test]
fn an_agent_that_blocks_is_replaced_while_workers_serve() {
    let cluster = impatient()
        .env("PLAYGROUND_AGENT_EGG_READY", "block:3600000")
        .start();
    let hung = cluster.agent();
    let visitors = Visitors::begin(cluster.address(), 2);
    let exited = expect_hung(&cluster, hung);
    assert!(
        exited.why().contains("Agent::egg_ready is running"),
        "{exited:?}"
    );
    cluster.wait_nth("agent-ready", 2);
    visitors.end_well();
    assert_eq!(count(&cluster.events(), "worker-exited"), 0);
    cluster.expect_orderly_end();
}

/// It saw a silence that was its own.
#[test]
fn a_master_that_was_stopped_kills_nobody() {
    let cluster = impatient().start();
    let everybody = cluster.everybody();
    for _ in 0..2 {
        cluster.signal(Signal::STOP);
        wait::pass(TIMEOUT * 2);
        cluster.signal(Signal::CONT);
        // Long enough to be killed in, if somebody wanted to.
        wait::pass(TIMEOUT);
    }
    assert_eq!(cluster.everybody(), everybody);
    for event in ["hung", "worker-exited", "agent-exited"] {
        assert_eq!(count(&cluster.events(), event), 0, "{event}");
    }
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect("the log says it", || {
        cluster.stderr().contains("this master did not run for")
    });
    cluster.stop();
}

/// As a slow machine does to all of them at once.
#[test]
fn a_cluster_that_was_stopped_as_a_whole_goes_on() {
    let cluster = impatient().start();
    let everybody = cluster.everybody();
    let all = || std::iter::once(cluster.master()).chain(everybody.iter().copied());
    all().for_each(|pid| kill(pid, Signal::STOP));
    wait::pass(TIMEOUT * 2);
    all().for_each(|pid| kill(pid, Signal::CONT));
    wait::pass(TIMEOUT);
    assert_eq!(cluster.everybody(), everybody);
    assert_eq!(count(&cluster.events(), "worker-exited"), 0);
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

#[test]
fn a_worker_that_a_debugger_holds_is_left_alone() {
    let cluster = impatient().start();
    let held = cluster.worker(1);
    let pid = Pid::from_raw(held.try_into().unwrap());
    // Its main thread, which is the one that serves.
    ptrace::attach(pid).unwrap();
    wait::expect("the debugger has it", || {
        process::Process::find(held).is_some_and(|process| process.state == 't')
    });
    cluster.expect("the master knows", || {
        cluster
            .stderr()
            .contains(&format!("worker 1 (pid {held}) is held by a debugger"))
    });
    wait::pass(TIMEOUT);
    assert!(process::is_alive(held));
    ptrace::detach(pid, None).unwrap();
    let (_, who) = cluster.connect_to(1);
    assert_eq!(who.pid, held);
    wait::pass(TIMEOUT);
    assert_eq!(count(&cluster.events(), "worker-exited"), 0);
    assert_eq!(http::get(cluster.address(), "/").unwrap().status, 200);
    cluster.stop();
}
