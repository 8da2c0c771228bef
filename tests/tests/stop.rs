//! Stopping: who is told, in which order, how long it takes, and what is left.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use hatchery_tests::event::{count, position};
use hatchery_tests::process::{self, kill, kill_group};
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Ended, Plan, http, playground, step};
use rustix::process::Signal;

// Signals.

/// One stop, not two: each hook ran once, each child was asked once.
fn expect_one_orderly_stop(ended: &Ended) {
    ended.expect_code(0);
    assert_eq!(ended.hooks("before_close").len(), 3);
    assert_eq!(count(&ended.events, "stopping"), 1);
    assert_eq!(count(&ended.events, "draining"), 3);
    for event in &ended.events {
        if event.event.ends_with("-exited") {
            assert_eq!(event.why(), "exited with code 0", "{event:?}");
        }
    }
}

#[test]
fn ctrl_c_is_one_orderly_stop() {
    let cluster = playground!().before_close("slow:300").start();
    kill_group(cluster.master(), Signal::INT);
    let ended = cluster.expect_exit();
    expect_one_orderly_stop(&ended);
    let stopping = &ended.events[position(&ended.events, "stopping")];
    assert!(stopping.why().contains("SIGINT"), "{stopping:?}");
}

#[test]
fn a_terminate_to_every_process_is_one_orderly_stop() {
    let cluster = playground!().before_close("slow:300").start();
    // As a service manager does that stops a whole control group. The master hears it first.
    for process in cluster.survivors().list() {
        kill(process.pid, Signal::TERM);
    }
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    assert_eq!(ended.hooks("before_close").len(), 3);
    assert_eq!(count(&ended.events, "stopping"), 1);
    ended.expect_no("worker-replaced");
}

/// A second signal does not wait for what the first one waits for.
fn second_signal_is_at_once(first: Signal, second: Signal) {
    let cluster = playground!()
        .before_close("hang")
        .flag("--drain-timeout", "60s")
        .flag("--lame-duck", "0s")
        .start();
    cluster.signal(first);
    cluster.wait_hooks("before_close", 2);
    cluster.signal(second);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    // Sixty seconds were granted.
    ended.expect_stop_within(Duration::ZERO);
    for event in &ended.events {
        if event.event.ends_with("-exited") {
            assert!(event.why().contains("signal 9"), "{event:?}");
        }
    }
}

#[test]
fn a_second_terminate_is_at_once() {
    second_signal_is_at_once(Signal::TERM, Signal::TERM);
}

#[test]
fn a_second_ctrl_c_is_at_once() {
    second_signal_is_at_once(Signal::INT, Signal::INT);
}

#[test]
fn another_second_signal_is_at_once_too() {
    second_signal_is_at_once(Signal::INT, Signal::TERM);
}

#[test]
fn quit_is_at_once() {
    let cluster = playground!().before_close("hang").start();
    let mut connection = cluster.connect();
    connection.ask("/sleep/60000").unwrap();
    cluster.signal(Signal::QUIT);
    let ended = cluster.expect_exit();
    ended.expect_code(0).expect_no("draining");
    assert!(ended.hooks("before_close").is_empty());
    assert!(connection.drain().is_empty());
    let stopping = &ended.events[position(&ended.events, "stopping")];
    assert!(stopping.why().contains("SIGQUIT"), "{stopping:?}");
}

// During the start.

/// A stop before egg-ready: nobody new is started, everybody leaves, code 0.
fn expect_orderly_end_of_start(ended: &Ended) {
    ended.expect_code(0).expect_no("egg-ready");
    let stopping = position(&ended.events, "stopping");
    for event in &ended.events[stopping..] {
        assert!(!event.event.ends_with("-spawned"), "{event:?}");
        if event.event.ends_with("-exited") {
            assert_eq!(
                event.why(),
                "exited with code 0",
                "a start is cancelled: {event:?}"
            );
        }
    }
    assert!(ended.hooks("before_close").iter().all(|(_, closed)| {
        ended
            .events
            .iter()
            .any(|event| event.event.ends_with("-ready") && event.pid == Some(closed.pid))
    }));
}

#[test]
fn a_stop_while_the_agent_starts() {
    let cluster = playground!().agent_start("hang").launch();
    cluster.wait_hooks("start", 1);
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    expect_orderly_end_of_start(&ended);
    ended.expect_no("worker-spawned");
}

#[test]
fn a_stop_while_workers_start() {
    let cluster = playground!().worker_start("hang").launch();
    cluster.wait_hooks("start", 3);
    cluster.signal(Signal::TERM);
    expect_orderly_end_of_start(&cluster.expect_exit());
}

#[test]
fn a_stop_while_the_last_worker_starts() {
    let cluster = playground!().worker_start("hang").only_slot(1).launch();
    cluster.wait_hooks("start", 3);
    cluster.wait(step("worker-ready").slot(0));
    cluster.signal(Signal::INT);
    expect_orderly_end_of_start(&cluster.expect_exit());
}

#[test]
fn a_stop_at_any_event_of_the_start() {
    for nth in 1..=7 {
        let cluster = playground!().launch();
        cluster.expect("events come", || cluster.mark() >= nth);
        cluster.signal(Signal::TERM);
        let ended = cluster.expect_exit();
        ended.expect_code(0);
        assert_eq!(ended.events[ended.events.len() - 1].event, "stopped");
        let stopping = position(&ended.events, "stopping");
        assert_eq!(count(&ended.events[stopping..], "worker-spawned"), 0);
    }
}

#[test]
fn quit_while_workers_start_is_at_once() {
    let cluster = playground!().worker_start("hang").launch();
    cluster.wait_hooks("start", 3);
    cluster.signal(Signal::QUIT);
    cluster.expect_exit().expect_code(0).expect_no("egg-ready");
}

#[test]
fn a_stop_while_a_replacement_starts() {
    let plan = playground!();
    let fault = plan.path("fault");
    let cluster = plan.env("PLAYGROUND_FAULT_FILE", &fault).start();
    fs::write(&fault, "hang").unwrap();
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait_hooks("start", 4);
    let ended = cluster.stop();
    ended.expect_no("worker-replaced");
}

// Hooks.

#[test]
fn slow_hooks_are_waited_for_in_both_roles() {
    let cluster = playground!()
        .before_close("slow:700")
        .flag("--lame-duck", "0s")
        .start();
    let ended = cluster.stop();
    // The workers together, then the agent.
    let hooks = Duration::from_millis(1400);
    assert!(ended.stop_took() >= hooks, "{:?}", ended.stop_took());
    ended.expect_stop_within(hooks);
}

// What is left.

#[test]
fn the_port_is_free_when_the_master_is_gone() {
    let cluster = playground!().start();
    let address = cluster.address();
    let mut connection = cluster.connect();
    connection.whoami().unwrap();
    cluster.stop();
    let refused = http::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    TcpListener::bind(address).unwrap();
}

fn unix_plan() -> (Plan, std::path::PathBuf) {
    let plan = playground!();
    let path = plan.path("app.sock");
    let plan = plan.listen(format!("unix:{}", path.display()));
    (plan, path)
}

#[test]
fn a_unix_socket_is_removed_by_its_creator() {
    let (plan, path) = unix_plan();
    let cluster = plan.start();
    assert!(path.exists());
    cluster.stop();
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_somebody_else_put_there_is_left_alone() {
    let (plan, path) = unix_plan();
    let cluster = plan.start();
    fs::remove_file(&path).unwrap();
    let _another = UnixListener::bind(&path).unwrap();
    cluster.stop();
    assert!(path.exists());
}

#[test]
fn an_inherited_socket_goes_on_listening() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let cluster = playground!().inherit(&socket).listen("systemd").start();
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    cluster.stop();
    // Ours was open all the while, and nobody shut it down; that it does not wait any more is the custom.
    socket.set_nonblocking(false).unwrap();
    let client = thread::spawn(move || std::net::TcpStream::connect(address).map(drop));
    socket.accept().unwrap();
    client.join().unwrap().unwrap();
}

#[test]
fn a_childs_own_children_are_gone_after_a_stop() {
    let cluster = playground!().start();
    let grandchild: u32 = cluster.get("/child").trim().parse().unwrap();
    assert!(process::is_alive(grandchild));
    // `stop` proves it: they hold the pipe, too.
    cluster.stop();
    assert!(!process::is_alive(grandchild));
}

// The command.

#[test]
fn the_stop_command_returns_when_everybody_is_really_gone() {
    let cluster = playground!().before_close("slow:500").start();
    let mut connection = cluster.connect();
    connection.ask("/sleep/700").unwrap();
    let ran = cluster.verb(&["stop"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // Not a moment later: now.
    assert!(
        cluster.survivors().gone_within(Duration::ZERO),
        "{:?}",
        cluster.survivors().list()
    );
    assert!(!process::is_alive(cluster.master()));
    assert_eq!(connection.receive().unwrap().status, 200);
    let ended = cluster.expect_exit();
    expect_one_orderly_stop(&ended);
    let again = cluster.verb(&["stop"]);
    assert_eq!(
        again.code,
        Some(6),
        "there is nothing to stop any more: {again:?}"
    );
}

#[test]
fn a_stop_command_that_has_waited_long_enough_says_so() {
    let cluster = playground!()
        .before_close("slow:1500")
        .flag("--lame-duck", "0s")
        .start();
    let ran = cluster.verb(&["stop", "--timeout", "300ms"]);
    assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    assert!(ran.stderr.contains("still stopping"), "{ran:?}");
    expect_one_orderly_stop(&cluster.expect_exit());
}

#[test]
fn two_stop_commands_at_once_are_one_stop() {
    let cluster = playground!().before_close("slow:500").start();
    let output = cluster.plan().path("first");
    let mut first = cluster.spawn_verb(&["stop"], &output);
    cluster.wait("stopping");
    let second = cluster.verb(&["stop"]);
    let first = until(PATIENCE, || first.try_wait().unwrap()).unwrap();
    assert_eq!(
        first.code(),
        Some(0),
        "{}",
        fs::read_to_string(output).unwrap()
    );
    assert_eq!(second.code, Some(0), "{second:?}");
    expect_one_orderly_stop(&cluster.expect_exit());
}

#[test]
fn a_stop_command_that_is_interrupted_stops_all_the_same() {
    let cluster = playground!().before_close("slow:500").start();
    let output = cluster.plan().path("stop");
    let mut command = cluster.spawn_verb(&["stop"], &output);
    cluster.wait("stopping");
    command.kill().unwrap();
    command.wait().unwrap();
    expect_one_orderly_stop(&cluster.expect_exit());
}

#[test]
fn a_stop_is_told_to_whoever_follows_the_events() {
    let cluster = playground!().start();
    let mut control = cluster.control();
    control.ask("events").unwrap();
    cluster.expect("the follower is known", || {
        kill(cluster.worker(0), Signal::KILL);
        control.receive().is_some()
    });
    cluster.signal(Signal::TERM);
    let mut last = None;
    while let Some(reply) = control.receive() {
        last = Some(reply);
    }
    assert_eq!(last.unwrap()["event"], "stopped");
    cluster.expect_exit().expect_code(0);
}
