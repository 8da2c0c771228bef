//! Who holds the socket that listens, as the kernel tells it: that is what a strategy is, seen from outside.

use std::collections::BTreeSet;

use hatchery_tests::listeners::{address, backlogs, held, listening};
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, each_strategy, playground, step};
use rustix::process::Signal;

const WORKERS: u32 = 3;

fn start(strategy: &str) -> Cluster {
    let cluster = playground!().workers(WORKERS).strategy(strategy).start();
    // By then a worker has whatever it gets.
    cluster.wait_hooks("egg_ready", WORKERS as usize + 1);
    cluster
}

fn only_the_master(strategy: &str) {
    let cluster = start(strategy);
    let sockets = listening(cluster.address());
    assert_eq!(sockets.len(), 1, "one port, one socket");
    assert_eq!(held(cluster.master(), &sockets), sockets);
    for process in cluster.everybody() {
        assert_eq!(held(process, &sockets), BTreeSet::new(), "{process}");
    }
    cluster.stop();
}

each_strategy!(where_the_master_accepts_it_alone_listens => only_the_master, handed over);

#[test]
fn with_shared_the_master_and_every_worker_have_the_same_socket() {
    let cluster = start("shared");
    let sockets = listening(cluster.address());
    assert_eq!(sockets.len(), 1);
    assert_eq!(held(cluster.master(), &sockets), sockets);
    for slot in 0..WORKERS {
        assert_eq!(held(cluster.worker(slot), &sockets), sockets, "{slot}");
    }
    assert_eq!(held(cluster.agent(), &sockets), BTreeSet::new());
    cluster.stop();
}

#[test]
fn with_reuse_port_every_worker_has_a_socket_of_its_own_and_the_master_has_all() {
    let cluster = start("reuse-port");
    let sockets = listening(cluster.address());
    assert_eq!(sockets.len(), WORKERS as usize);
    assert_eq!(held(cluster.master(), &sockets), sockets);
    assert_eq!(held(cluster.agent(), &sockets), BTreeSet::new());
    let of_workers: Vec<_> = (0..WORKERS)
        .map(|slot| held(cluster.worker(slot), &sockets))
        .collect();
    assert!(
        of_workers.iter().all(|own| own.len() == 1),
        "{of_workers:?}"
    );
    let together: BTreeSet<u64> = of_workers.iter().flatten().copied().collect();
    assert_eq!(together, sockets);
    // It is the slot's: whoever comes next has the same.
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    cluster.wait_hooks("egg_ready", WORKERS as usize + 2);
    assert_eq!(Some(&held(cluster.worker(1), &sockets)), of_workers.get(1));
    assert_eq!(listening(cluster.address()), sockets);
    cluster.expect_orderly_end();
}

#[test]
fn each_socket_has_the_backlog_of_its_address() {
    let cluster = playground!()
        .workers(2)
        .listen("127.0.0.1:0?backlog=7")
        .listen("127.0.0.1:0?backlog=9&strategy=shared")
        .listen("127.0.0.1:0?backlog=11&strategy=reuse-port")
        .start();
    let backlogs = |n| backlogs(address(&cluster, n));
    assert_eq!(backlogs(0), [7]);
    assert_eq!(backlogs(1), [9]);
    assert_eq!(backlogs(2), [11, 11], "one for each worker");
    cluster.stop();
}

/// Agent and workers are the master's children, and nobody is anybody else's.
#[test]
fn the_master_is_the_parent_of_all() {
    let cluster = start("round-robin");
    let children = hatchery_tests::process::children(cluster.master());
    let children: BTreeSet<u32> = children.iter().map(|child| child.pid).collect();
    assert_eq!(children, cluster.everybody().into_iter().collect());
    cluster.stop();
}
