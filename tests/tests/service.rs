//! What a service manager is told, in which order, and what of it children see.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_tests::manager::Manager;
use hatchery_tests::process::{environment, kill};
use hatchery_tests::{Cluster, Plan, playground, step};
use rustix::process::Signal;

/// Half of it is when a sign of life is due.
const WATCHDOG: Duration = Duration::from_secs(4);

fn watched(plan: Plan) -> Plan {
    plan.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
}

#[test]
fn it_is_told_of_each_step_and_of_the_state() {
    let (manager, plan) = Manager::of(playground!().worker_start("slow:300"));
    let cluster = plan.launch();
    let ready = manager.expect_line("READY=1");
    assert_eq!(ready.after("STATUS="), Some("2 of 2 workers ready"));
    let hatched = cluster.wait("egg-ready");
    assert!(hatched.ts_ms <= u64::try_from(monotonic().as_millis()).unwrap());
    cluster.signal(Signal::TERM);
    let stopping = manager.expect_line("STOPPING=1");
    assert!(
        stopping.after("STATUS=stopping: ").is_some(),
        "{stopping:?}"
    );
    cluster.expect_exit().expect_code(0);
    let rest = manager.rest(Duration::from_millis(50));
    assert!(!rest.iter().any(|told| told.has("READY=1")), "{rest:?}");
}

/// A reload begins with its time, in one message, and readiness ends it. Returns the code of the command.
#[track_caller]
fn reload(cluster: &Cluster, manager: &Manager) -> Option<i32> {
    let before = monotonic();
    let ran = cluster.verb(&["reload"]);
    let reloading = manager.expect_line("RELOADING=1");
    let told = reloading.after("MONOTONIC_USEC=").unwrap();
    let told = Duration::from_micros(told.parse().unwrap());
    assert!(before <= told && told <= monotonic(), "{told:?}");
    manager.expect_line("READY=1");
    ran.code
}

#[test]
fn it_is_told_of_each_reload_and_of_its_end_also_when_it_failed() {
    let (manager, plan) = Manager::of(playground!().fragile());
    let cluster = plan.start();
    manager.expect_line("READY=1");
    assert_eq!(reload(&cluster, &manager), Some(0));
    cluster.break_starts();
    assert_eq!(reload(&cluster, &manager), Some(7));
    cluster.mend_starts();
    assert_eq!(reload(&cluster, &manager), Some(0));
    cluster.stop();
    manager.expect_line("STOPPING=1");
}

#[test]
fn its_socket_may_have_no_file() {
    let (manager, plan) = Manager::nameless(playground!().workers(1));
    let cluster = plan.start();
    manager.expect_line("READY=1");
    cluster.stop();
    manager.expect_line("STOPPING=1");
}

#[test]
fn who_is_in_a_crash_loop_is_named() {
    let (manager, plan) = Manager::of(playground!().fragile());
    let cluster = plan.start();
    cluster.break_starts();
    kill(cluster.worker(1), Signal::KILL);
    let told = manager.expect("a degraded state", |told| {
        told.after("STATUS=degraded: 1 of 2 workers ready; worker 1 waiting (")
            .is_some()
    });
    assert!(
        told.lines.iter().any(|line| line.contains("code 7")),
        "{told:?}"
    );
    cluster.mend_starts();
    manager.expect("everybody", |told| {
        told.lines
            .iter()
            .any(|line| line.ends_with("2 of 2 workers ready"))
    });
    cluster.stop();
}

#[test]
fn signs_of_life_come_with_readiness_and_at_half_of_the_time() {
    let (manager, plan) = Manager::of(playground!().worker_start("slow:500"));
    let cluster = watched(plan).launch();
    let before = manager.expect("anything but a state", |told| {
        told.after("STATUS=").is_none() || told.has("READY=1")
    });
    assert!(before.has("READY=1"), "{before:?}: not before readiness");
    let mut last = manager.expect_line("WATCHDOG=1").at;
    assert!(last - before.at < Duration::from_secs(1));
    for _ in 0..3 {
        let next = manager.expect_line("WATCHDOG=1").at;
        // What counts is that none is late; the machine of a test may be busy.
        assert!(next - last < WATCHDOG, "{:?}", next - last);
        last = next;
    }
    cluster.stop();
}

/// No sign of life comes any more.
#[track_caller]
fn expect_silence(manager: &Manager) {
    // The last that was due may be under way, and those that the freshness of the workers still allows.
    let patience = WATCHDOG * 3;
    let begun = std::time::Instant::now();
    let mut last = begun;
    while begun.elapsed() < patience {
        match manager.next_within(WATCHDOG) {
            Some(told) if told.has("WATCHDOG=1") => last = told.at,
            Some(_) => {}
            None => return,
        }
        if last.elapsed() > WATCHDOG {
            return;
        }
    }
    panic!("signs of life still come");
}

#[test]
fn workers_that_hang_are_no_sign_of_life_and_one_of_many_is() {
    let (manager, plan) = Manager::of(playground!().flag("--strategy", "shared"));
    let cluster = watched(plan).start();
    kill(cluster.worker(0), Signal::STOP);
    manager.expect_line("WATCHDOG=1");
    // Longer than a worker may be silent: the other one is enough.
    for _ in 0..4 {
        manager.expect_line("WATCHDOG=1");
    }
    kill(cluster.worker(1), Signal::STOP);
    expect_silence(&manager);
    kill(cluster.worker(0), Signal::CONT);
    manager.expect_line("WATCHDOG=1");
    kill(cluster.worker(1), Signal::CONT);
    cluster.stop();
}

#[test]
fn workers_that_are_all_dead_are_no_sign_of_life() {
    let (manager, plan) = Manager::of(playground!().fragile());
    let cluster = watched(plan).start();
    cluster.spoil_starts("hang");
    for slot in 0..2 {
        kill(cluster.worker(slot), Signal::KILL);
        cluster.wait_nth(step("worker-spawned").slot(slot), 2);
    }
    expect_silence(&manager);
    cluster.mend_starts();
    for slot in 0..2 {
        kill(cluster.worker(slot), Signal::KILL);
    }
    manager.expect_line("WATCHDOG=1");
    cluster.stop();
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let (manager, plan) = Manager::of(playground!().workers(1));
    let cluster = watched(plan).env("WATCHDOG_PID", "1").start();
    manager.expect_line("READY=1");
    let rest = manager.rest(WATCHDOG / 2 + Duration::from_millis(500));
    assert!(!rest.iter().any(|told| told.has("WATCHDOG=1")), "{rest:?}");
    cluster.stop();
}

#[test]
fn a_service_manager_that_is_gone_harms_nobody() {
    let (manager, plan) = Manager::of(playground!().workers(1));
    let cluster = watched(plan).start();
    drop(manager);
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait("worker-replaced");
    cluster
        .stop()
        .expect_stderr(&["the service manager could not be told"]);
}

/// Neither children nor what they start can speak for the service.
fn expect_ignorance(cluster: &Cluster) {
    let mut everybody = cluster.everybody();
    everybody.push(cluster.get("/child").trim().parse().unwrap());
    for pid in everybody {
        let environment = environment(pid);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"] {
            assert!(
                !environment.contains(name),
                "{name} in {pid}: {environment}"
            );
        }
    }
}

#[test]
fn nobody_but_the_master_can_speak_for_the_service() {
    let (manager, plan) = Manager::of(playground!().workers(1));
    let cluster = watched(plan).start();
    manager.expect_line("READY=1");
    expect_ignorance(&cluster);
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait("worker-replaced");
    expect_ignorance(&cluster);
    cluster.stop();
}
