//! Stopping: who is told, in which order, how long it takes, and what is left.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hatchery_tests::event::{count, position};
use hatchery_tests::http::Connection;
use hatchery_tests::process::{self, kill, kill_group};
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, Ended, Plan, http, playground, step};
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

// What clients see.

#[test]
fn a_request_in_flight_is_answered() {
    let cluster = playground!().workers(1).start();
    let mut slow = cluster.connect();
    slow.ask("/sleep/1000").unwrap();
    let mut idle = cluster.connect();
    idle.whoami().unwrap();
    cluster.signal(Signal::TERM);
    let response = slow.receive().unwrap();
    assert_eq!(response.status, 200);
    assert!(
        response.closes(),
        "and told that it was the last: {response:?}"
    );
    expect_orderly(&cluster);
}

#[test]
fn a_client_that_asks_once_more_is_answered_and_told_to_go() {
    let cluster = playground!().workers(1).flag("--lame-duck", "4s").start();
    let mut connection = cluster.connect();
    connection.whoami().unwrap();
    cluster.signal(Signal::TERM);
    // The worker hears of it a moment later. Until then and once after it, it answers.
    let last = until(PATIENCE, || {
        let response = connection.get("/").unwrap();
        assert_eq!(response.text(), "Hello World");
        response.closes().then_some(response)
    });
    assert!(last.is_some());
    assert!(connection.drain().is_empty());
    // Now that nobody is connected there is nobody to wait for.
    expect_orderly(&cluster).expect_stop_within(Duration::ZERO);
}

#[test]
fn a_stop_without_any_time_is_a_stop_all_the_same() {
    let cluster = playground!()
        .flag("--drain-timeout", "0s")
        .flag("--lame-duck", "0s")
        .start();
    let mut connection = cluster.connect();
    connection.ask("/sleep/600000").unwrap();
    let ended = cluster.expect_orderly_end();
    assert_eq!(ended.hooks("before_close").len(), 3);
    ended.expect_stop_within(Duration::ZERO);
    connection.drain();
}

#[test]
fn a_long_answer_in_flight_comes_whole() {
    let cluster = playground!().workers(1).start();
    let mut stream = cluster.connect();
    // Ten events, 100 ms apart: longer than the lame duck, shorter than the drain.
    stream.ask("/stream/10").unwrap();
    stream.receive_head().unwrap();
    assert!(stream.receive_chunk().unwrap().is_some());
    cluster.signal(Signal::TERM);
    let mut rest = Vec::new();
    while let Some(chunk) = stream.receive_chunk().unwrap() {
        rest.extend(chunk);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("data: 9"), "to its last event: {rest}");
    expect_orderly(&cluster);
}

#[test]
fn clients_see_success_and_then_refusal_and_nothing_in_between() {
    let cluster = playground!().start();
    let address = cluster.address();
    let (tell, served) = mpsc::channel();
    let client = thread::spawn(move || {
        let mut outcomes = Vec::new();
        let refused = until(PATIENCE, || {
            let outcome = match http::get(address, "/") {
                Ok(response) => format!("{}", response.status),
                Err(error) => format!("{:?}", error.kind()),
            };
            if outcomes.last() != Some(&outcome) {
                outcomes.push(outcome);
            }
            // Nobody listens after the first time.
            let _ = tell.send(());
            (outcomes.last()? == "ConnectionRefused").then_some(())
        });
        assert!(refused.is_some(), "never refused: {outcomes:?}");
        outcomes
    });
    served.recv().unwrap();
    cluster.signal(Signal::TERM);
    let outcomes = client.join().unwrap();
    // A connection that nobody has accepted when the listener is closed is reset by the kernel.
    let allowed: [&[&str]; 2] = [
        &["200", "ConnectionRefused"],
        &["200", "ConnectionReset", "ConnectionRefused"],
    ];
    assert!(
        allowed.iter().any(|order| outcomes == *order),
        "{outcomes:?}"
    );
    expect_orderly(&cluster);
}

fn expect_orderly(cluster: &Cluster) -> Ended {
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    for event in &ended.events {
        if event.event.ends_with("-exited") {
            assert_eq!(event.why(), "exited with code 0", "{event:?}");
        }
    }
    ended
}

/// For those who have nothing under way: they are asked to leave, and nobody waits for the deadline.
const EARLY: (&str, Duration) = ("20s", Duration::from_millis(200));
/// For those who have something under way that never ends.
const AT_THE_DEADLINE: (&str, Duration) = ("1500ms", Duration::from_millis(1500));

/// A client that would keep its worker for ever does not keep the stop longer than it may take.
fn stop_ends_with(
    client: impl FnOnce(&Cluster) -> Connection,
    (drain_timeout, most): (&str, Duration),
) {
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", drain_timeout)
        .start();
    let mut connection = client(&cluster);
    cluster.signal(Signal::TERM);
    connection.drain();
    expect_orderly(&cluster).expect_stop_within(most);
}

#[test]
fn an_idle_connection_does_not_hold_up_a_stop() {
    let idle = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        connection.whoami().unwrap();
        connection
    };
    stop_ends_with(idle, EARLY);
}

#[test]
fn a_connection_that_never_said_anything_does_not_hold_up_a_stop() {
    stop_ends_with(Cluster::connect, EARLY);
}

/// An HTTP/2 connection without any request, as far as the server's settings.
fn http2(cluster: &Cluster) -> Connection {
    let mut connection = cluster.connect();
    // The client's preface and its empty settings; the server answers with its own.
    connection
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    connection.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let header = connection.receive_exact(9).unwrap();
    assert_eq!(header[3], SETTINGS);
    connection.receive_exact(usize::from(header[2])).unwrap();
    connection
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

#[test]
fn an_idle_http2_connection_is_asked_to_leave_and_does_not_hold_up_a_stop() {
    let (drain_timeout, most) = EARLY;
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", drain_timeout)
        .start();
    let mut connection = http2(&cluster);
    cluster.signal(Signal::TERM);
    let mut asked = false;
    // The server asks to leave, and then by a ping whether that was read.
    while let Ok(header) = connection.receive_exact(9) {
        let body = connection.receive_exact(usize::from(header[2])).unwrap();
        asked |= header[3] == GOAWAY;
        if header[3] == PING && header[4] == 0 {
            let mut pong = vec![0, 0, 8, PING, 1, 0, 0, 0, 0];
            pong.extend(body);
            connection.send(&pong).unwrap();
        }
    }
    assert!(asked);
    expect_orderly(&cluster).expect_stop_within(most);
}

#[test]
fn an_http2_client_that_does_not_listen_ends_by_the_deadline() {
    stop_ends_with(http2, AT_THE_DEADLINE);
}

#[test]
fn a_half_sent_header_ends_by_the_deadline() {
    let half = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        connection.send(b"GET / HTTP/1.1\r\nHost: pl").unwrap();
        connection
    };
    stop_ends_with(half, AT_THE_DEADLINE);
}

#[test]
fn a_half_sent_body_ends_by_the_deadline() {
    let half = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        let head = b"POST /echo HTTP/1.1\r\nHost: playground\r\nContent-Length: 100\r\n\r\nhalf";
        connection.send(head).unwrap();
        connection
    };
    stop_ends_with(half, AT_THE_DEADLINE);
}

#[test]
fn an_endless_stream_ends_by_the_deadline() {
    let endless = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        connection.ask("/stream/1000000").unwrap();
        connection.receive_head().unwrap();
        connection
    };
    stop_ends_with(endless, AT_THE_DEADLINE);
}

#[test]
fn an_open_websocket_ends_by_the_deadline() {
    let open = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        connection
            .send(
                b"GET /ws HTTP/1.1\r\nHost: playground\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        assert_eq!(connection.receive_head().unwrap().status, 101);
        connection
    };
    stop_ends_with(open, AT_THE_DEADLINE);
}

#[test]
fn an_endless_request_ends_by_the_deadline() {
    let endless = |cluster: &Cluster| {
        let mut connection = cluster.connect();
        connection.ask("/sleep/600000").unwrap();
        connection
    };
    stop_ends_with(endless, AT_THE_DEADLINE);
}

#[test]
fn a_worker_that_spins_is_killed_after_the_deadline() {
    let cluster = playground!()
        .workers(1)
        .flag("--drain-timeout", "500ms")
        .start();
    let _spinning = cluster.spin(0);
    cluster.signal(Signal::TERM);
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    ended.expect_stop_within(Duration::from_millis(500 + 2000 + 2000));
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
