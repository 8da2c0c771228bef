//! The fleet is torn in every way there is: what a host does for its own clients goes on untouched, with its own schedules
//! and its own state, and `status` and `metrics` tell how the link is.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use hatchery_tests::cut::{Network, Weather};
use hatchery_tests::jobs::{begun, wait_begun};
use hatchery_tests::process::kill;
use hatchery_tests::redis::Redis;
use hatchery_tests::state::{add, done};
use hatchery_tests::{Cluster, Plan, Traffic, playground};
use rustix::process::Signal;
use serde_json::{Value, json};

fn host(url: &str) -> Plan {
    let plan = playground!();
    let notes = plan.path("fleet");
    plan.flag("--fleet", url)
        .flag("--fleet-lease", "1s")
        .env("PLAYGROUND_FLEET", notes)
}

/// One that has a schedule of its own, too.
fn local(url: &str) -> Plan {
    host(url).schedules("b every=50")
}

fn link(cluster: &Cluster) -> Value {
    cluster.status()["fleet"].clone()
}

/// The agent's word is as old as its last beat, so it takes its time.
#[track_caller]
fn expect_state(cluster: &Cluster, state: &str) {
    cluster.expect(&format!("the link is {state}"), || {
        link(cluster)["state"] == state
    });
}

#[track_caller]
fn expect_trouble(cluster: &Cluster, trouble: &str) {
    cluster.expect(&format!("the trouble is {trouble}"), || {
        link(cluster)["trouble"] == trouble
    });
}

/// Clients are answered, times come, and the state is there.
#[track_caller]
fn expect_local_life(cluster: &Cluster, traffic: &Traffic) {
    traffic.expect_answers(50);
    let runs = begun(cluster).len();
    let counted = done(cluster, &add("n", 1)).as_i64();
    let next = counted.map(|count| count + 1);
    assert_eq!(done(cluster, &add("n", 1)).as_i64(), next);
    wait_begun(cluster, runs + 3);
}

#[track_caller]
fn expect_unhurt(traffic: Traffic) {
    traffic.expect_answers(50);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn clients_are_served_whatever_the_network_does() {
    let redis = Redis::start(&[]);
    let weathers = [
        Weather::Silent,
        Weather::Mute,
        Weather::Deaf,
        Weather::Broken,
    ];
    let hosts = weathers.map(|weather| {
        let network = Network::to(redis.port());
        let cluster = local(&network.redis_url()).workers(1).start();
        let traffic = Traffic::begin(cluster.address(), 1);
        (cluster, network, weather, traffic)
    });
    for (cluster, network, weather, _) in &hosts {
        expect_state(cluster, "connected");
        network.set(*weather);
    }
    for (cluster, _, weather, traffic) in &hosts {
        cluster.expect(&format!("it notices {weather:?}"), || {
            link(cluster)["state"] == "connecting"
        });
        expect_local_life(cluster, traffic);
    }
    for (_, network, _, _) in &hosts {
        network.set(Weather::Fine);
    }
    for (cluster, _, _, traffic) in hosts {
        expect_state(&cluster, "connected");
        expect_unhurt(traffic);
    }
}

#[test]
fn clients_are_served_whatever_redis_does() {
    let mut redis = Redis::start(&[]);
    let cluster = local(&redis.url()).start();
    expect_state(&cluster, "connected");
    let traffic = Traffic::begin(cluster.address(), 2);
    redis.pause();
    expect_state(&cluster, "connecting");
    expect_local_life(&cluster, &traffic);
    redis.resume();
    expect_state(&cluster, "connected");
    redis.ask("CONFIG SET maxmemory 1");
    expect_trouble(&cluster, "full");
    assert_eq!(link(&cluster)["state"], "connected");
    expect_local_life(&cluster, &traffic);
    redis.ask("CONFIG SET maxmemory 0");
    cluster.expect("nothing is wrong", || link(&cluster)["trouble"].is_null());
    redis.kill();
    expect_state(&cluster, "connecting");
    expect_local_life(&cluster, &traffic);
    redis.revive();
    redis.ask("FLUSHALL");
    cluster.expect("connections were lost", || {
        link(&cluster)["losses"].as_u64() >= Some(2)
    });
    expect_state(&cluster, "connected");
    expect_local_life(&cluster, &traffic);
    expect_unhurt(traffic);
    cluster.stop();
}

#[test]
fn clients_are_served_while_a_replica_takes_over() {
    let old = Redis::start(&[]);
    let new = Redis::start(&["--replicaof", "127.0.0.1", &old.port().to_string()]);
    let network = Network::to(old.port());
    let cluster = local(&network.redis_url()).start();
    expect_state(&cluster, "connected");
    let traffic = Traffic::begin(cluster.address(), 2);
    cluster.expect("the replica follows", || {
        let known = new.ask("INFO replication");
        known.contains("master_link_status:up")
    });
    // As a manager of failovers does it: the old one takes no writes, the new one does, and then the way changes.
    new.ask("REPLICAOF NO ONE");
    old.ask(&format!("REPLICAOF 127.0.0.1 {}", new.port()));
    expect_state(&cluster, "connecting");
    expect_local_life(&cluster, &traffic);
    network.lead_to(new.port());
    expect_state(&cluster, "connected");
    cluster.expect("nothing is wrong", || link(&cluster)["trouble"].is_null());
    expect_local_life(&cluster, &traffic);
    expect_unhurt(traffic);
    cluster.stop();
}

#[test]
fn status_and_metrics_tell_how_the_link_is() {
    let mut redis = Redis::start(&[]);
    let [cluster, _other] = [(); 2].map(|()| host(&redis.url()).start());
    cluster.expect("two members are seen, and messages counted", || {
        let link = link(&cluster);
        link["members"] == 2
            && link["sent"].as_u64() > Some(2)
            && link["received"].as_u64() > Some(2)
    });
    let shown = cluster.verb(&["status"]);
    assert!(shown.stdout.contains("\nFLEET "), "{shown:?}");
    assert!(shown.stdout.contains("\nconnected "), "{shown:?}");
    assert_eq!(cluster.metrics().count("hatchery_fleet_connected"), 1);
    assert_eq!(cluster.metrics().count("hatchery_fleet_trouble"), 0);
    assert_eq!(cluster.metrics().count("hatchery_fleet_members"), 2);
    redis.kill();
    expect_trouble(&cluster, "unreachable");
    expect_state(&cluster, "connecting");
    let metrics = cluster.metrics();
    assert_eq!(metrics.count("hatchery_fleet_connected"), 0);
    assert_eq!(metrics.count("hatchery_fleet_trouble"), 1);
    assert_eq!(metrics.count("hatchery_fleet_losses_total"), 1);
    assert!(metrics.count(r#"hatchery_fleet_messages_total{outcome="refused"}"#) > 0);
    cluster.expect("no lease is held", || {
        cluster.metrics().count("hatchery_fleet_leases") == 0
    });
    redis.revive();
    expect_state(&cluster, "connected");
    assert_eq!(link(&cluster)["last_trouble"], "unreachable");
    // What is counted outlives the agent.
    let before = cluster.metrics();
    let mark = cluster.mark();
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
    let fallen = cluster.metrics().fallen_since(&before);
    assert!(fallen.is_empty(), "{fallen:?}");
    expect_state(&cluster, "connected");
}

#[test]
fn without_a_fleet_there_is_no_link_to_tell_of() {
    let cluster = playground!().start();
    assert_eq!(link(&cluster), json!(null));
    assert!(!cluster.verb(&["status"]).stdout.contains("FLEET"));
    assert!(!cluster.verb(&["metrics"]).stdout.contains("hatchery_fleet"));
}
