//! Connections between the kernel, the master and the workers: none is lost, whoever dies, stops or is full.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use hatchery_tests::control::Control;
use hatchery_tests::held::Held;
use hatchery_tests::http;
use hatchery_tests::process::{descriptors, expect_idle, kill};
use hatchery_tests::wait::{LATE, moment, pass, until};
use hatchery_tests::{Crowd, each_strategy, playground, step};
use rustix::process::Signal;

fn all_workers_dead_for_seconds(strategy: &str) {
    let cluster = playground!()
        .workers(3)
        .strategy(strategy)
        .fragile()
        .start();
    let master = cluster.master();
    cluster.break_starts();
    for slot in 0..3 {
        kill(cluster.worker(slot), Signal::KILL);
    }
    // The first replacement comes at once, and dies of its start.
    for slot in 0..3 {
        cluster.wait_nth(step("worker-exited").slot(slot), 2);
    }
    let mut clients = Crowd::gather(&cluster, 100);
    for slot in 0..3 {
        cluster.wait_nth(step("worker-exited").slot(slot), 3);
    }
    clients.grow(&cluster, 100);
    expect_idle(&[master]);
    cluster.mend_starts();
    assert_eq!(clients.answers().len(), 200);
    drop(clients);
    cluster.expect_orderly_end();
}

each_strategy!(nobody_is_refused_while_all_workers_are_dead => all_workers_dead_for_seconds);

fn one_worker_dead_for_seconds(strategy: &str) {
    let cluster = playground!()
        .workers(3)
        .strategy(strategy)
        .fragile()
        .only_slot(1)
        .start();
    cluster.break_starts();
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait_nth(step("worker-exited").slot(1), 2);
    let served = Crowd::gather(&cluster, 100).answers();
    assert!(served.iter().all(|who| who.slot != 1), "{served:?}");
    let exits = cluster.wait_nth(step("worker-exited").slot(1), 3);
    assert_eq!(exits.why(), "exited with code 7");
    cluster.mend_starts();
    cluster.wait(step("worker-replaced").slot(1));
    cluster.connect_to(1);
    cluster.expect_orderly_end();
}

each_strategy!(nobody_waits_for_a_worker_that_is_dead => one_worker_dead_for_seconds);

/// New clients do not notice, and who was given to it is given to another.
fn a_worker_is_suspended(strategy: &str) {
    let cluster = playground!().workers(2).strategy(strategy).start();
    let everybody = cluster.everybody();
    let worker = cluster.worker(1);
    kill(worker, Signal::STOP);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(cluster.connect().whoami().unwrap().slot, 0);
    }
    assert!(begun.elapsed() < LATE, "{:?}", begun.elapsed());
    let served = Crowd::gather(&cluster, 300).answers();
    assert!(served.iter().all(|who| who.slot == 0));
    kill(worker, Signal::CONT);
    let (_connection, again) = cluster.connect_to(1);
    assert_eq!(again.pid, worker, "it gets connections again");
    assert_eq!(cluster.everybody(), everybody);
    cluster.stop();
}

// With reuse-port clients wait in the queue of its own: a suite of `hang`.
each_strategy!(a_suspended_worker_delays_nobody => a_worker_is_suspended; round_robin: "round-robin",
    least_connections: "least-connections", weighted: "weighted", ip_hash: "ip-hash", shared: "shared");

/// A suspended worker has nobody to help it, and then it dies.
fn a_suspended_worker_dies(strategy: &str) {
    let cluster = playground!().workers(1).strategy(strategy).start();
    cluster.get("/");
    let worker = cluster.worker(0);
    kill(worker, Signal::STOP);
    let mut clients = Crowd::gather(&cluster, 300);
    expect_idle(&[cluster.master()]);
    kill(worker, Signal::KILL);
    let served = clients.answers();
    assert!(served.iter().all(|who| who.pid != worker), "{served:?}");
    drop(clients);
    cluster.expect_orderly_end();
}

each_strategy!(what_a_dead_worker_has_not_read_is_not_lost => a_suspended_worker_dies);

fn the_master_is_suspended(strategy: &str) {
    let cluster = playground!().workers(2).strategy(strategy).start();
    cluster.get("/");
    let everybody = cluster.everybody();
    cluster.signal(Signal::STOP);
    let mut clients = Crowd::gather(&cluster, 100);
    moment(Duration::from_secs(1));
    cluster.signal(Signal::CONT);
    clients.answers();
    assert_eq!(cluster.everybody(), everybody);
    cluster.stop();
}

each_strategy!(clients_wait_for_a_suspended_master => the_master_is_suspended);

/// As a suspended one, with the difference that it has accepted what it does not answer.
fn a_worker_spins(strategy: &str) {
    let cluster = playground!().workers(2).strategy(strategy).start();
    let _spinning = cluster.spin(1);
    let served = Crowd::gather(&cluster, 100).answers();
    assert!(served.iter().all(|who| who.slot == 0));
    assert_eq!(cluster.status()["state"], "ready");
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    cluster.connect_to(1);
    cluster.expect_orderly_end();
}

each_strategy!(a_worker_that_spins_delays_nobody => a_worker_spins, handed over);

/// The master's beat is not late by as much as its children bear.
#[test]
fn a_flood_of_connections_delays_no_beat() {
    let cluster = playground!().flag("--master-timeout", "2s").start();
    let everybody = cluster.everybody();
    let address = cluster.address();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    assert_eq!(http::get(address, "/").unwrap().status, 200);
                }
            });
        }
        moment(Duration::from_secs(4));
        over.store(true, Relaxed);
    });
    assert_eq!(cluster.everybody(), everybody);
    cluster.stop();
}

#[test]
fn a_flood_of_commands_delays_no_connection() {
    let cluster = playground!().start();
    let over = AtomicBool::new(false);
    let path = cluster.control_path();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let mut operator = Control::connect(&path).unwrap();
                    operator.ask("status").unwrap();
                    assert_eq!(operator.receive().unwrap()["state"], "ready");
                }
            });
        }
        for _ in 0..200 {
            assert_eq!(cluster.get("/"), "Hello World");
        }
        over.store(true, Relaxed);
    });
    assert!(begun.elapsed() < LATE, "{:?}", begun.elapsed());
    cluster.stop();
}

/// What accepts stands still for longer than the master may be silent.
#[test]
fn beats_and_commands_go_on_while_nothing_is_accepted() {
    let cluster = playground!().flag("--master-timeout", "2s").start();
    let everybody = cluster.everybody();
    let held = Held::thread(cluster.master(), "hatchery-accept");
    let mut clients = Crowd::gather(&cluster, 20);
    let over = Instant::now() + Duration::from_secs(5);
    while Instant::now() < over {
        assert_eq!(cluster.status()["state"], "ready");
        pass(Duration::from_millis(100));
    }
    drop(held);
    clients.answers();
    assert_eq!(cluster.everybody(), everybody);
    cluster.stop();
}

/// What answers commands and sends beats stands still. Nobody here may take that for the master's end meanwhile.
fn the_control_loop_stands_still(strategy: &str) {
    let cluster = playground!()
        .strategy(strategy)
        .flag("--master-timeout", "60s")
        .start();
    cluster.connect_to(1);
    let everybody = cluster.everybody();
    let held = Held::main_thread(cluster.master());
    let served = Crowd::gather(&cluster, 100).answers();
    assert_eq!(served.len(), 100);
    drop(held);
    assert_eq!(cluster.everybody(), everybody);
    cluster.stop();
}

each_strategy!(connections_come_through_while_no_command_does => the_control_loop_stands_still);

/// What the master has not been told yet it holds a copy of, and while it is suspended it is told nothing.
#[test]
fn a_suspended_master_keeps_no_connection_open_that_its_worker_has_dropped() {
    // With ip-hash a worker has a second before the master takes back what was not read.
    let cluster = playground!().workers(1).strategy("ip-hash").start();
    let (master, worker) = (cluster.master(), cluster.worker(0));
    cluster.expect("an end without the master", || {
        cluster.connect().whoami().unwrap();
        kill(worker, Signal::STOP);
        let before = descriptors(master);
        let mut client = cluster.connect();
        client.ask("/panic").unwrap();
        // In vain where the copy of the last connection was among them and goes as this one comes.
        let soon = Duration::from_secs(1);
        let accepted = until(soon, || (descriptors(master) > before).then_some(()));
        cluster.signal(Signal::STOP);
        kill(worker, Signal::CONT);
        client.get_ref().set_read_timeout(Some(LATE)).unwrap();
        // Too late, on a busy machine, is a connection that the master has taken back.
        let ended = accepted.is_some() && client.receive().is_err_and(|error| !is_late(&error));
        cluster.signal(Signal::CONT);
        ended
    });
    cluster.stop();
}

fn is_late(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}
