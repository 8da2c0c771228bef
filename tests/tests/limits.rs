//! Workers and masters that have no room: clients wait, nobody is lost, and waiting costs nothing.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use hatchery_tests::http::{self, Connection};
use hatchery_tests::process::{self, expect_idle, kill, limit_descriptors};
use hatchery_tests::wait::PATIENCE;
use hatchery_tests::{Cluster, Crowd, each_strategy, playground};
use rustix::process::Signal;

/// The n-th address.
fn address(cluster: &Cluster, n: usize) -> SocketAddr {
    let status = cluster.status();
    let shown = status["listeners"][n]["address"].as_str().unwrap();
    shown.parse().unwrap()
}

/// Clients that come at once, and show up here when they are served.
fn clients(address: SocketAddr, count: usize) -> Receiver<Connection> {
    let (served, all) = mpsc::channel();
    for _ in 0..count {
        let served = served.clone();
        thread::spawn(move || {
            let mut connection = http::connect(address).unwrap();
            connection.whoami().unwrap();
            // A test that fails is not interested.
            let _ = served.send(connection);
        });
    }
    all
}

#[track_caller]
fn take(served: &Receiver<Connection>, count: usize) -> Vec<Connection> {
    let next = |_| served.recv_timeout(PATIENCE).expect("one more is served");
    (0..count).map(next).collect()
}

/// More clients than there is room for: some are served, the others when those leave.
fn full_workers(strategy: &str) {
    let cluster = playground!()
        .workers(1)
        .strategy(strategy)
        .flag("--max-connections", "3")
        .start();
    let served = clients(cluster.address(), 20);
    let mut inside = take(&served, 3);
    expect_idle(&[cluster.master(), cluster.worker(0)]);
    assert!(served.try_recv().is_err(), "there is room for three");
    cluster.expect_status("there are three", |status| {
        status["workers"][0]["connections"] == 3
    });
    for _ in 3..20 {
        inside.remove(0);
        inside.extend(take(&served, 1));
    }
    assert_eq!(inside.len(), 3);
    cluster.stop();
}

each_strategy!(clients_wait_for_room => full_workers);

#[test]
fn a_full_worker_gets_nothing_and_the_others_do() {
    let cluster = playground!()
        .workers(2)
        .flag("--max-connections", "4")
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?strategy=ip-hash")
        .start();
    let [fair, sticky] = [0, 1].map(|n| address(&cluster, n));
    let mut inside = Vec::new();
    let mut slots = Vec::new();
    for address in [sticky, sticky, sticky, sticky, fair, fair, fair, fair] {
        let mut connection = http::connect(address).unwrap();
        slots.push(connection.whoami().unwrap().slot);
        inside.push(connection);
    }
    slots.sort_unstable();
    assert_eq!(slots, [0, 0, 0, 0, 1, 1, 1, 1]);
    let served = clients(fair, 4);
    expect_idle(&[cluster.master()]);
    assert!(served.try_recv().is_err(), "all are full");
    drop(inside);
    take(&served, 4);
    cluster.stop();
}

/// Two addresses share the room: neither keeps it from the other.
fn two_addresses(strategy: &str) {
    let cluster = playground!()
        .workers(1)
        .strategy(strategy)
        .flag("--max-connections", "1")
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0")
        .start();
    for n in [0, 1, 0, 1, 1, 0] {
        let mut connection = http::connect(address(&cluster, n)).unwrap();
        connection.whoami().unwrap();
    }
    let first = clients(address(&cluster, 0), 1);
    let inside = take(&first, 1);
    let second = clients(address(&cluster, 1), 1);
    expect_idle(&[cluster.master(), cluster.worker(0)]);
    assert!(second.try_recv().is_err(), "there is room for one in all");
    drop(inside);
    take(&second, 1);
    cluster.stop();
}

each_strategy!(addresses_share_the_room => two_addresses);

fn a_worker_has_no_descriptors_left(strategy: &str) {
    let cluster = playground!().workers(2).strategy(strategy).start();
    cluster.connect_to(1);
    let worker = cluster.worker(1);
    limit_descriptors(worker, 8);
    let mut clients = Crowd::gather(&cluster, 60);
    expect_idle(&[cluster.master(), worker]);
    limit_descriptors(worker, 1024);
    clients.answers();
    cluster.connect_to(1);
    cluster.stop().expect_no("worker-replaced");
}

each_strategy!(a_worker_without_descriptors_loses_nobody => a_worker_has_no_descriptors_left);

fn the_master_has_no_descriptors_left(strategy: &str) {
    let cluster = playground!().workers(2).strategy(strategy).start();
    cluster.get("/");
    let master = cluster.master();
    let descriptors = process::descriptors(master);
    limit_descriptors(master, descriptors);
    let mut clients = Crowd::gather(&cluster, 300);
    clients.answers();
    // An operator, too: there is no descriptor for him.
    let mut operator = cluster.control();
    operator.ask("status").unwrap();
    expect_idle(&[master]);
    Crowd::gather(&cluster, 20).answers();
    limit_descriptors(master, 1024);
    assert_eq!(operator.receive().unwrap()["state"], "ready");
    Crowd::gather(&cluster, 20).answers();
    drop(clients);
    cluster.expect("nothing is held", || {
        process::descriptors(master) <= descriptors
    });
    cluster.stop();
}

each_strategy!(a_master_without_descriptors_serves_on => the_master_has_no_descriptors_left);

/// How many connections of one worker's the master holds at most.
const WINDOW: usize = 128;

/// A crowd that nobody takes waits in the kernel's queue, and not in the master.
fn a_crowd_that_nobody_takes(strategy: &str) {
    let cluster = playground!().workers(1).strategy(strategy).start();
    cluster.get("/");
    let (master, worker) = (cluster.master(), cluster.worker(0));
    // Perhaps with some that are about to be closed.
    let before = process::descriptors(master);
    kill(worker, Signal::STOP);
    let mut crowd = Crowd::gather(&cluster, 700);
    cluster.expect("it holds some of them", || {
        process::descriptors(master) > WINDOW
    });
    expect_idle(&[master]);
    let held = process::descriptors(master).saturating_sub(before);
    assert!(held <= WINDOW, "{held} of 700");
    kill(worker, Signal::CONT);
    crowd.answers();
    cluster.expect("nothing is held", || process::descriptors(master) <= before);
    cluster.stop();
}

each_strategy!(the_master_holds_a_bounded_number => a_crowd_that_nobody_takes, handed over);
