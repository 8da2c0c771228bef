//! The master dies, or seems to: its children leave in time, and never without need.
//!
//! Each of the three ways by which a child notices is tested alone: the kernel's signal (with the link
//! kept open by the test), the end of the link (with the master alive), and silence (with the master
//! stopped, so that neither of the others comes).
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use hatchery_tests::event::count;
use hatchery_tests::loopback::privileged_address;
use hatchery_tests::plan::NOBODY;
use hatchery_tests::process::{self, Process, kill};
use hatchery_tests::wait::{self, PATIENCE};
use hatchery_tests::{Cluster, Plan, command::run, http, link, playground, step};
use rustix::process::Signal;

/// Far longer than idle children take, so that a test which ends in time proves that the grace was not
/// used up.
const LONG_GRACE: &str = "20s";

#[test]
fn idle_children_are_gone_within_a_second() {
    let cluster = playground!()
        .workers(4)
        .flag("--orphan-grace", LONG_GRACE)
        .start();
    cluster.wait_hooks("egg_ready", 5);
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
    let closes = cluster.wait_hooks("before_close", 5);
    assert_eq!(closes.len(), 5, "their hooks ran all the same");
}

#[test]
fn thirty_two_idle_children_are_gone_soon() {
    let cluster = playground!()
        .workers(32)
        .flag("--orphan-grace", LONG_GRACE)
        .start();
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(5), killed);
}

#[test]
fn a_request_in_flight_is_answered_within_the_grace() {
    let cluster = playground!()
        .workers(1)
        .flag("--orphan-grace", LONG_GRACE)
        .start();
    let mut slow = cluster.connect();
    slow.ask("/sleep/1500").unwrap();
    // A later connection is accepted later, so the first one is in the worker's hands.
    cluster.connect().whoami().unwrap();
    let killed = cluster.kill_master();
    assert_eq!(slow.receive().unwrap().status, 200);
    cluster.expect_gone_within(Duration::from_secs(5), killed);
}

#[test]
fn an_endless_request_is_cut_off_when_the_grace_is_over() {
    let cluster = playground!()
        .workers(1)
        .flag("--orphan-grace", "1s")
        .start();
    let mut endless = cluster.connect();
    endless.ask("/stream/1000000").unwrap();
    endless.receive_head().unwrap();
    let killed = cluster.kill_master();
    endless.drain();
    cluster.expect_gone_within(Duration::from_secs(2), killed);
}

#[test]
fn a_worker_that_spins_is_gone_when_the_grace_is_over() {
    let cluster = playground!()
        .workers(1)
        .flag("--orphan-grace", "1s")
        .start();
    let _spinning = cluster.spin(0);
    let killed = cluster.kill_master();
    let took = cluster.expect_gone_within(Duration::from_secs(2), killed);
    assert!(
        took >= Duration::from_millis(900),
        "it had its grace: {took:?}"
    );
}

#[test]
fn a_hook_that_hangs_is_cut_off_when_the_grace_is_over() {
    let cluster = playground!()
        .before_close("hang")
        .flag("--orphan-grace", "1s")
        .start();
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(2), killed);
}

#[test]
fn children_can_be_told_to_die_with_their_master() {
    let cluster = playground!()
        .workers(1)
        .before_close("hang")
        .flag("--on-master-death", "kill")
        .flag("--orphan-grace", LONG_GRACE)
        .start();
    let _spinning = cluster.spin(0);
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
}

#[test]
fn a_suspended_child_dies_with_its_master_if_it_was_told_to() {
    let cluster = playground!()
        .flag("--on-master-death", "kill")
        .flag("--orphan-grace", LONG_GRACE)
        .start();
    kill(cluster.worker(0), Signal::STOP);
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
}

#[test]
fn their_own_children_are_gone_too() {
    let cluster = playground!()
        .workers(2)
        .flag("--orphan-grace", LONG_GRACE)
        .start();
    for slot in 0..2 {
        let (mut connection, _) = cluster.connect_to(slot);
        let grandchild = connection.get("/child").unwrap();
        assert!(process::is_alive(grandchild.text().trim().parse().unwrap()));
    }
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
}

#[test]
fn their_own_children_are_gone_too_when_the_grace_was_needed() {
    let cluster = playground!()
        .workers(1)
        .before_close("hang")
        .flag("--orphan-grace", "500ms")
        .start();
    cluster.get("/child");
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_millis(1500), killed);
}

#[test]
fn a_master_killed_in_its_own_stop_leaves_nobody() {
    let cluster = playground!()
        .before_close("hang")
        .flag("--drain-timeout", "60s")
        .flag("--lame-duck", "0s")
        .flag("--orphan-grace", "1s")
        .start();
    cluster.signal(Signal::TERM);
    cluster.wait_hooks("before_close", 2);
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(2), killed);
}

// At any moment of the start.

/// Kills fifty masters while they start, each a little later in its life than the one before. Wherever a
/// child is in its own start, it notices.
fn killed_in_the_spawn_window(part: u32) {
    const MASTERS: u32 = 50;
    const PARTS: u32 = 4;
    // The window on this machine, as busy as it is.
    let begin = Instant::now();
    playground!().start().stop();
    let window = begin.elapsed();
    for n in 0..MASTERS {
        let cluster = playground!().launch();
        wait::moment(window * (n * PARTS + part) / (MASTERS * PARTS));
        let killed = cluster.kill_master();
        cluster.expect_gone_within(Duration::from_secs(3), killed);
    }
}

#[test]
fn nobody_survives_a_master_killed_in_the_spawn_window_part_1() {
    killed_in_the_spawn_window(0);
}

#[test]
fn nobody_survives_a_master_killed_in_the_spawn_window_part_2() {
    killed_in_the_spawn_window(1);
}

#[test]
fn nobody_survives_a_master_killed_in_the_spawn_window_part_3() {
    killed_in_the_spawn_window(2);
}

#[test]
fn nobody_survives_a_master_killed_in_the_spawn_window_part_4() {
    killed_in_the_spawn_window(3);
}

#[test]
fn nobody_survives_a_master_killed_as_soon_as_a_child_exists() {
    for children in 1..=4 {
        let cluster = playground!().workers(3).launch();
        // A child that has only just been created has armed nothing yet.
        while process::children(cluster.master()).len() < children {}
        let killed = cluster.kill_master();
        cluster.expect_gone_within(Duration::from_secs(3), killed);
    }
}

/// A child that was asked to leave by a master which dies a moment later must see to its own children.
#[test]
fn nobody_survives_a_master_killed_at_any_moment_of_its_stop() {
    const MASTERS: u32 = 60;
    let stopping = || {
        let cluster = playground!().flag("--lame-duck", "0s").start();
        for slot in 0..2 {
            cluster.connect_to(slot).0.get("/child").unwrap();
        }
        let begin = Instant::now();
        cluster.signal(Signal::TERM);
        (cluster, begin)
    };
    let (cluster, begin) = stopping();
    cluster.expect_exit();
    let window = begin.elapsed();
    for n in 0..MASTERS {
        let (cluster, _) = stopping();
        wait::moment(window * n / MASTERS);
        let killed = cluster.kill_master();
        cluster.expect_gone_within(Duration::from_secs(4), killed);
    }
}

// Each sign alone.

#[test]
fn the_kernels_signal_is_enough() {
    let cluster = playground!()
        .flag("--orphan-grace", LONG_GRACE)
        .flag("--master-timeout", "60s")
        .start();
    // As long as these are open, no child sees the end of its link.
    let links = link::all_of_master(cluster.master()).unwrap();
    assert!(links.len() >= 3, "{links:?}");
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
    drop(links);
}

#[test]
fn the_end_of_the_link_is_enough() {
    let cluster = playground!().workers(1).start();
    let worker = cluster.worker(0);
    let link = link::of_child(worker).unwrap();
    link.shutdown(std::net::Shutdown::Both).unwrap();
    // The master lives, and sees the child leave as one does that lost its master.
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert!(exited.why().contains("exited with code 110"), "{exited:?}");
    cluster.wait("worker-replaced");
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

#[test]
fn silence_is_enough() {
    let cluster = playground!().flag("--master-timeout", "2s").start();
    let everybody = cluster.everybody();
    cluster.signal(Signal::STOP);
    // Nobody reaps them while the master is stopped: they are zombies, with their exit code.
    for pid in &everybody {
        process::expect_dead(*pid);
    }
    cluster.signal(Signal::CONT);
    for pid in &everybody {
        let exited = cluster.wait_where("an exit", |event| {
            event.event.ends_with("-exited") && event.pid == Some(*pid)
        });
        assert!(exited.why().contains("exited with code 110"), "{exited:?}");
    }
    // It was no death, so life goes on.
    cluster.wait_nth("agent-ready", 2);
    cluster.wait(step("worker-replaced").slot(0));
    cluster.wait(step("worker-replaced").slot(1));
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

// And never without need.

#[test]
fn a_master_that_is_suspended_for_less_than_the_timeout_harms_nobody() {
    let plan = playground!().flag("--master-timeout", "10s");
    // With a strategy that needs the master for each connection, new ones wait until it is back.
    let cluster = plan.flag("--strategy", "shared").start();
    let before = cluster.everybody();
    let mut connections = [cluster.connect_to(0).0, cluster.connect_to(1).0];
    cluster.signal(Signal::STOP);
    wait::meanwhile(Duration::from_secs(4), || {
        for connection in &mut connections {
            assert_eq!(connection.get("/sleep/50").unwrap().status, 200);
        }
        assert_eq!(http::get(cluster.address(), "/").unwrap().status, 200);
    });
    cluster.signal(Signal::CONT);
    cluster.expect_status("it is ready again", |status| status["state"] == "ready");
    assert_eq!(cluster.everybody(), before);
    cluster.stop().expect_no("worker-replaced");
}

#[test]
fn a_worker_that_was_suspended_does_not_blame_its_master() {
    let cluster = playground!().flag("--master-timeout", "2s").start();
    let worker = cluster.worker(0);
    kill(worker, Signal::STOP);
    wait::meanwhile(Duration::from_secs(5), || {
        // Not to the stopped worker: it may have accepted this one, and answers later.
        let _ = cluster.status();
    });
    kill(worker, Signal::CONT);
    let (_, who) = cluster.connect_to(0);
    assert_eq!(who.pid, worker);
    cluster.stop().expect_no("worker-replaced");
}

#[test]
fn children_of_an_idle_master_stay() {
    // The kernel's signal follows the thread that created a child: if that thread ended, as idle threads
    // of a pool do after some seconds, the children would be told that their parent died.
    let seconds: u64 =
        std::env::var("HATCHERY_TESTS_IDLE_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let cluster = playground!().start();
    let before = cluster.everybody();
    cluster.expect_status("time passes", |status| {
        status["uptime_ms"].as_u64().unwrap() >= seconds * 1000
    });
    assert_eq!(cluster.everybody(), before);
    cluster.stop().expect_no("worker-replaced");
}

// Process 1 of a container.

#[test]
fn children_of_process_one_stay_as_long_as_it_lives() {
    let cluster = playground!().as_process_one().start();
    assert_eq!(process::inner_pid(cluster.master()), Some(1));
    for slot in 0..2 {
        let (_, who) = cluster.connect_to(slot);
        assert_eq!(
            Some(who.pid),
            cluster.wait(step("worker-ready").slot(slot)).pid
        );
    }
    // One of them dies, and is replaced by one whose parent is process 1, too.
    let worker = cluster.outer_pid(cluster.worker(0));
    kill(worker, Signal::KILL);
    let exited = cluster.wait("worker-exited");
    assert!(exited.why().contains("signal 9"), "{exited:?}");
    cluster.wait("worker-replaced");
    cluster.expect_status("time passes", |status| {
        status["uptime_ms"].as_u64().unwrap() >= 2500
    });
    assert_eq!(count(&cluster.events(), "worker-exited"), 1);
    assert_eq!(count(&cluster.events(), "agent-exited"), 0);
    let ended = cluster.stop();
    ended.expect_code(0);
}

#[test]
fn process_one_reaps_orphans_and_never_takes_them_for_its_own() {
    let cluster = playground!().as_process_one().start();
    let before = cluster.everybody();
    let master = cluster.master();
    // A hundred processes lose their parent and end with codes that mean something for a child.
    let mut orphans = Command::new("nsenter");
    let target = master.to_string();
    let script = "for i in $(seq 50); do (sh -c 'exit 3' &) ; (sh -c 'kill -9 $$' &) ; done";
    orphans.args(["--target", &target, "--pid", "--mount", "sh", "-c", script]);
    let ran = run(orphans);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    cluster.expect("every orphan is reaped", || {
        let children = process::children(master);
        children.len() == 3 && children.iter().all(Process::is_alive)
    });
    assert_eq!(cluster.everybody(), before);
    let ended = cluster.stop();
    assert_eq!(count(&ended.events, "worker-exited"), 2);
    ended.expect_no("worker-replaced");
}

#[test]
fn orphans_are_reaped_by_a_master_that_is_not_process_one() {
    let cluster = playground!().workers(1).start();
    let master = cluster.master();
    cluster.get("/child");
    // The worker dies; what it started becomes the master's, is killed with the group, and reaped.
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait("worker-replaced");
    cluster.expect("nothing is left of it", || {
        let children = process::children(master);
        children.len() == 2 && children.iter().all(Process::is_alive)
    });
    cluster.stop();
}

#[test]
fn a_container_is_gone_with_its_process_one() {
    let cluster = playground!().as_process_one().start();
    cluster.get("/child");
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
}

// Privileges.

/// A cluster of another user, whose executable has a capability: the exec of such a file clears the
/// parent-death signal, so it has to be set afterwards.
fn capable_cluster(more: impl FnOnce(Plan) -> Plan) -> Cluster {
    let plan = more(playground!())
        .own_copy()
        .flag("--orphan-grace", LONG_GRACE)
        .flag("--master-timeout", "60s")
        .as_nobody();
    let mut command = Command::new("setcap");
    command.arg("cap_net_bind_service+ep").arg(plan.program());
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let cluster = plan.start();
    for pid in cluster.everybody() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_ascii_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(field("Uid:"), NOBODY.to_string());
        assert_eq!(
            field("CapEff:"),
            "0000000000000400",
            "it gained the capability by its exec"
        );
    }
    cluster
}

#[test]
fn a_capability_of_the_executable_does_not_disarm_the_kernels_signal() {
    let cluster = capable_cluster(|plan| plan);
    let links = link::all_of_master(cluster.master()).unwrap();
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
    drop(links);
}

#[test]
fn a_capability_of_the_executable_may_be_used_to_bind() {
    let address = privileged_address();
    let cluster = capable_cluster(|plan| plan.listen(address));
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    cluster.stop();
}

#[test]
fn how_long_it_takes_is_measured_from_the_kill() {
    // The measure itself: a pipe that is still held is not at its end.
    let cluster = playground!().start();
    assert!(!cluster.survivors().gone_within(Duration::from_millis(1)));
    assert_eq!(
        cluster.survivors().list().len(),
        4,
        "master, agent, two workers"
    );
    let begin = Instant::now();
    cluster.stop();
    assert!(cluster.survivors().gone_within(Duration::ZERO));
    assert!(begin.elapsed() < PATIENCE);
}
