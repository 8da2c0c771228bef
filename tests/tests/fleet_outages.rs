//! The fleet is torn in every way there is: what a host does for its own clients goes on untouched, and `status` and
//! `metrics` tell how the link is.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use hatchery_tests::cut::{Network, Weather};
use hatchery_tests::process::kill;
use hatchery_tests::redis::Redis;
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
        let cluster = host(&network.redis_url()).workers(1).start();
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
        traffic.expect_answers(50);
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
    let cluster = host(&redis.url()).start();
    expect_state(&cluster, "connected");
    let traffic = Traffic::begin(cluster.address(), 2);
    redis.pause();
    expect_state(&cluster, "connecting");
    traffic.expect_answers(50);
    redis.resume();
    expect_state(&cluster, "connected");
    redis.ask("CONFIG SET maxmemory 1");
    expect_trouble(&cluster, "full");
    assert_eq!(link(&cluster)["state"], "connected");
    traffic.expect_answers(50);
    redis.ask("CONFIG SET maxmemory 0");
    cluster.expect("nothing is wrong", || link(&cluster)["trouble"].is_null());
    redis.restart();
    redis.ask("FLUSHALL");
    cluster.expect("connections were lost", || {
        link(&cluster)["losses"].as_u64() >= Some(2)
    });
    expect_state(&cluster, "connected");
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
