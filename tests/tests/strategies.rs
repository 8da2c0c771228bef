//! What each strategy promises about who gets which connection.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use hatchery_tests::http::{Connection, connect, connect_from};
use hatchery_tests::process::kill;
use hatchery_tests::wait::{LATE, PATIENCE, until};
use hatchery_tests::{Cluster, Plan, each_strategy, playground, step};
use rustix::process::Signal;

/// So many connections, one after the other, all of them open, and whose they are.
fn connections(address: SocketAddr, count: usize) -> Vec<(Connection, u32)> {
    let open = |_| {
        let mut connection = connect(address).unwrap();
        let who = connection.whoami().unwrap();
        (connection, who.slot)
    };
    (0..count).map(open).collect()
}

/// How many of them each slot has.
fn spread<C>(connections: &[(C, u32)]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for (_, slot) in connections {
        *counts.entry(*slot).or_default() += 1;
    }
    counts
}

/// Looks at the spread of so many connections. On a busy machine a worker may not get to read its connections
/// in time, and others get them: then, and only then, it looks again.
#[track_caller]
fn expect_spread(
    cluster: &Cluster,
    count: usize,
    is_right: impl Fn(&BTreeMap<u32, usize>) -> bool,
) {
    let address = cluster.address();
    let disturbances = || {
        let log = cluster.stderr();
        log.matches("does not read its connections").count()
    };
    let workers = cluster.worker_pids().len();
    let seen = until(PATIENCE, || {
        // Everybody is there.
        if spread(&connections(address, workers)).len() < workers {
            return None;
        }
        let before = disturbances();
        let seen = spread(&connections(address, count));
        if is_right(&seen) {
            return Some(());
        }
        let disturbed = until(LATE, || (disturbances() > before).then_some(()));
        assert!(disturbed.is_some(), "for no reason: {seen:?}");
        None
    });
    assert!(seen.is_some(), "never undisturbed");
}

/// A plan whose log tells when others get what a worker does not read.
fn talkative(plan: Plan) -> Plan {
    plan.flag("--log-level", "info,hatchery_master=debug")
}

/// The addresses in the order in which they were given.
fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    let status = cluster.status();
    let listeners = status["listeners"].as_array().unwrap();
    let address = |listener: &serde_json::Value| listener["address"].as_str()?.parse().ok();
    listeners.iter().filter_map(address).collect()
}

fn serves(strategy: &str) {
    let cluster = playground!().workers(3).strategy(strategy).start();
    let connections = connections(cluster.address(), 60);
    let counts = spread(&connections);
    assert_eq!(counts.values().sum::<usize>(), 60, "{counts:?}");
    let listener = &cluster.status()["listeners"][0];
    assert_eq!(listener["strategy"], strategy);
    let shown = cluster.verb(&["status"]);
    let line = shown.stdout.lines().last().unwrap();
    assert!(line.contains(strategy), "{shown:?}");
    // A beat later it is known how many there were.
    cluster.expect_status("all are counted", |status| {
        let workers = status["workers"].as_array().unwrap();
        let open = workers.iter().filter_map(|w| w["connections"].as_u64());
        status["listeners"][0]["accepted"] == 60 && open.sum::<u64>() == 60
    });
    cluster.stop();
}

each_strategy!(every_strategy_serves => serves);

#[test]
fn in_turn_everybody_gets_the_same() {
    let cluster = talkative(playground!().workers(8)).start();
    assert_eq!(
        cluster.status()["listeners"][0]["strategy"],
        "round-robin",
        "it is the default"
    );
    for _ in 0..10 {
        expect_spread(&cluster, 80, |counts| {
            counts.values().all(|count| *count == 10)
        });
    }
    cluster.stop();
}

#[test]
fn turns_go_on_when_a_worker_was_replaced() {
    let cluster = talkative(playground!().workers(3)).start();
    connections(cluster.address(), 7);
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    expect_spread(&cluster, 30, |counts| {
        counts.values().all(|count| *count == 10)
    });
    cluster.stop();
}

#[test]
fn who_has_the_fewest_connections_gets_the_next() {
    // From one address all connections of the second listener go to one worker.
    let cluster = playground!()
        .workers(3)
        .strategy("least-connections")
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?strategy=ip-hash")
        .start();
    let [least, sticky] = addresses(&cluster)[..] else {
        panic!("two addresses");
    };
    let burden = connections(sticky, 12);
    let (busy, _) = spread(&burden)
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .unwrap();
    let more = connections(least, 12);
    assert_eq!(spread(&more).get(&busy), None, "it has enough");
    drop(burden);
    cluster.expect("the one that was busy is not any more", || {
        connections(least, 1)[0].1 == busy
    });
    cluster.stop();
}

#[test]
fn weights_are_kept_in_proportion() {
    let cluster = playground!()
        .workers(3)
        .strategy("weighted")
        .flag("--weights", "3,1");
    let cluster = talkative(cluster).start();
    expect_spread(&cluster, 50, |counts| {
        // A slot without a weight has 1.
        let shares = [(0, 30), (1, 10), (2, 10)];
        shares
            .iter()
            .all(|(slot, share)| counts[slot].abs_diff(*share) <= 1)
    });
    cluster.stop();
}

/// Who has no worker has no turn, and nobody gets anything for it; its weight is there when it has one again.
#[test]
fn weights_wait_for_slots_that_are_scaled_away() {
    let plan = playground!().strategy("weighted").flag("--weights", "3,1");
    let cluster = talkative(plan).start();
    let scale = |to: &str, shares: &[(u32, usize)]| {
        let ran = cluster.verb(&["scale", to]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        expect_spread(&cluster, 40, |counts| {
            let mut shares = shares.iter();
            shares.all(|(slot, share)| counts[slot].abs_diff(*share) <= 1)
        });
    };
    scale("1", &[(0, 40)]);
    scale("3", &[(0, 24), (1, 8), (2, 8)]);
    scale("2", &[(0, 30), (1, 10)]);
    cluster.stop();
}

/// Clients from different addresses of this host.
fn clients() -> impl Iterator<Item = Ipv4Addr> {
    (1..=24).map(|host| Ipv4Addr::new(127, 0, 7, host))
}

/// Whom each client gets.
fn homes(cluster: &Cluster) -> BTreeMap<Ipv4Addr, u32> {
    let address = cluster.address();
    let home = |client| {
        let mut connection = connect_from(client, address).unwrap();
        (client, connection.whoami().unwrap().slot)
    };
    clients().map(home).collect()
}

#[test]
fn a_client_has_one_worker_and_a_crash_moves_only_that_workers_clients() {
    let cluster = playground!()
        .workers(4)
        .strategy("ip-hash")
        .fragile()
        .start();
    let before = homes(&cluster);
    for _ in 0..4 {
        assert_eq!(homes(&cluster), before);
    }
    let lost = before[&Ipv4Addr::new(127, 0, 7, 1)];
    assert!(before.values().any(|slot| *slot != lost), "{before:?}");
    cluster.break_starts();
    kill(cluster.worker(lost), Signal::KILL);
    cluster.wait_nth(step("worker-exited").slot(lost), 2);
    for (client, home) in homes(&cluster) {
        if before[&client] == lost {
            assert_ne!(home, lost, "nobody is there");
        } else {
            assert_eq!(home, before[&client], "{client} had no reason to move");
        }
    }
    cluster.mend_starts();
    cluster.wait(step("worker-replaced").slot(lost));
    cluster.expect("its clients are back", || homes(&cluster) == before);
    cluster.expect_orderly_end();
}

#[test]
fn the_kernel_spreads_clients_over_the_sockets_of_all_slots() {
    let cluster = playground!().workers(4).strategy("reuse-port").start();
    let counts = spread(&connections(cluster.address(), 200));
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 15), "{counts:?}");
    cluster.stop();
}

#[test]
fn an_address_may_have_a_strategy_of_its_own() {
    let cluster = playground!()
        .workers(2)
        .env("HATCHERY_STRATEGY", "none")
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?strategy=rr")
        .listen("127.0.0.1:0?strategy=reuse-port&backlog=16")
        .start();
    let strategy = |n: usize| cluster.status()["listeners"][n]["strategy"].clone();
    assert_eq!(
        [strategy(0), strategy(1), strategy(2)],
        ["shared", "round-robin", "reuse-port"]
    );
    let addresses = addresses(&cluster);
    for address in &addresses {
        assert_eq!(connections(*address, 20).len(), 20);
    }
    cluster.expect("connections for both", || {
        spread(&connections(addresses[1], 20)).len() == 2
    });
    cluster.stop();
}
