//! The cluster in numbers: there, right, and never going back.

use std::time::{Duration, Instant};

use hatchery_tests::metrics::Metrics;
use hatchery_tests::outage::Outage;
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Traffic, playground, step};
use rustix::process::Signal;

#[test]
fn everything_is_counted() {
    let cluster = playground!().start();
    for _ in 0..20 {
        cluster.get("/");
    }
    let mut waiting = cluster.connect();
    waiting.ask("/sleep/600000").unwrap();
    cluster.expect("the beats have told", || {
        cluster.metrics().count("hatchery_requests_total") >= 21
    });
    let metrics = cluster.metrics();
    let address = cluster.address();
    for (series, value) in [
        (r#"hatchery_info{name="playground",version="0.1.0"}"#, 1),
        (r#"hatchery_state{state="ready"}"#, 1),
        (r#"hatchery_state{state="degraded"}"#, 0),
        ("hatchery_generation", 1),
        ("hatchery_workers_desired", 2),
        ("hatchery_workers_ready", 2),
        ("hatchery_agent_ready", 1),
        ("hatchery_requests_total", 21),
        (r#"hatchery_spawned_total{role="worker"}"#, 2),
        (r#"hatchery_spawned_total{role="agent"}"#, 1),
        (r#"hatchery_exits_total{role="worker",kind="signal"}"#, 0),
        (r#"hatchery_exits_total{role="agent",kind="hung"}"#, 0),
        (r#"hatchery_hung_total{role="worker"}"#, 0),
        ("hatchery_recycled_total", 0),
        (r#"hatchery_reloads_total{outcome="finished"}"#, 0),
        (r#"hatchery_restarts_total{role="worker",slot="1"}"#, 0),
        (
            &format!(
                r#"hatchery_connections_accepted_total{{address="{address}",strategy="round-robin"}}"#
            ),
            21,
        ),
    ] {
        assert_eq!(metrics.count(series), value, "{series}: {metrics:#?}");
    }
    let of_slots = |name: &str| {
        let slot = |slot| metrics.count(&format!("{name}{{slot=\"{slot}\"}}"));
        slot(0) + slot(1)
    };
    assert_eq!(of_slots("hatchery_worker_requests_total"), 21);
    assert_eq!(of_slots("hatchery_worker_requests_in_flight"), 1);
    assert!(of_slots("hatchery_worker_resident_bytes") > 1_000_000);
    assert!(metrics.value(r#"hatchery_worker_lag_seconds{slot="0"}"#) >= 0.0);
    assert!(metrics.count("hatchery_master_resident_bytes") > 1_000_000);
    assert!(metrics.value("hatchery_uptime_seconds") > 0.0);
    drop(waiting);
    cluster.stop();
}

#[test]
fn counters_never_go_back_whoever_dies() {
    let cluster = playground!().start();
    let traffic = Traffic::begin(cluster.address(), 4);
    let mut before = cluster.metrics();
    for death in 1..=4 {
        // Beside the traffic, so that it is known what at least has been counted.
        traffic.expect_answers(50);
        let victim = if death % 2 == 0 {
            cluster.agent()
        } else {
            cluster.worker(0)
        };
        kill(victim, Signal::KILL);
        for _ in 0..5 {
            before = not_fallen(&cluster, &before);
        }
        let name = if death % 2 == 0 {
            "agent-ready"
        } else {
            "worker-ready"
        };
        cluster.wait_nth(
            step(name),
            if death % 2 == 0 {
                1 + death / 2
            } else {
                2 + death.div_ceil(2)
            },
        );
        before = not_fallen(&cluster, &before);
    }
    let answers = traffic.answers();
    drop(traffic.end());
    cluster.expect(
        "all but those of a second before each kill are counted",
        || cluster.metrics().count("hatchery_requests_total") > 0,
    );
    assert!(answers >= 200);
    let metrics = not_fallen(&cluster, &before);
    for (series, value) in [
        (r#"hatchery_exits_total{role="worker",kind="signal"}"#, 2),
        (r#"hatchery_exits_total{role="agent",kind="signal"}"#, 2),
        (r#"hatchery_restarts_total{role="worker",slot="0"}"#, 2),
        (r#"hatchery_restarts_total{role="worker",slot="1"}"#, 0),
        (r#"hatchery_restarts_total{role="agent"}"#, 2),
        (r#"hatchery_spawned_total{role="worker"}"#, 4),
    ] {
        assert_eq!(metrics.count(series), value, "{series}: {metrics:#?}");
    }
    cluster.stop();
}

#[track_caller]
fn not_fallen(cluster: &Cluster, before: &Metrics) -> Metrics {
    let metrics = cluster.metrics();
    let fallen = metrics.fallen_since(before);
    assert!(fallen.is_empty(), "{fallen:?}");
    metrics
}

/// A new generation goes on counting where the old one ends, also while both are there.
#[test]
fn nothing_that_is_counted_becomes_less_in_a_reload() {
    let cluster = playground!().workers(3).start();
    let traffic = Traffic::of(cluster.address(), 4, 4);
    let mut before = cluster.metrics_unhurried();
    for agent in [false, true] {
        let order = serde_json::json!({"request": "reload", "agent": agent});
        let reload = cluster.order(order);
        while !reload.is_over() {
            let now = cluster.metrics_unhurried();
            assert_eq!(now.fallen_since(&before), [""; 0]);
            before = now;
        }
        reload.outcome().unwrap();
    }
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    let after = not_fallen(&cluster, &before);
    for (series, value) in [
        (r#"hatchery_exits_total{role="worker",kind="replaced"}"#, 6),
        (r#"hatchery_spawned_total{role="worker"}"#, 9),
        (r#"hatchery_spawned_total{role="agent"}"#, 2),
    ] {
        assert_eq!(after.count(series), value, "{series}");
    }
    cluster.stop();
}

/// What a worker leaves in an orderly way has been counted to the last request.
#[test]
fn a_worker_that_leaves_takes_no_request_along() {
    let cluster = playground!().workers(1).start();
    for _ in 0..30 {
        cluster.get("/");
    }
    kill(cluster.worker(0), Signal::TERM);
    cluster.wait_nth("worker-ready", 2);
    let metrics = cluster.metrics();
    let series = [
        "hatchery_requests_total",
        r#"hatchery_worker_requests_total{slot="0"}"#,
    ];
    for series in series {
        assert_eq!(metrics.count(series), 30, "{series}");
    }
    cluster.stop();
}

#[test]
fn whoever_is_gone_has_no_gauges() {
    let cluster = playground!().with_outages().start();
    let gauge = r#"hatchery_worker_resident_bytes{slot="0"}"#;
    assert!(cluster.metrics().find(gauge).is_some());
    let outage = Outage::begin(&cluster, 2);
    cluster.expect("a look between a death and the next process", || {
        let metrics = cluster.metrics();
        assert_eq!(metrics.count("hatchery_workers_ready"), 0);
        assert_eq!(metrics.count("hatchery_workers_desired"), 2);
        // It is there as soon as there is a process, and that one has not served.
        let connections = metrics.find(r#"hatchery_worker_connections{slot="0"}"#);
        connections.is_none_or(|count| count < 1.0)
    });
    outage.end();
    cluster.wait_nth(step("worker-ready"), 4);
    assert!(cluster.metrics().find(gauge).is_some());
    cluster.expect_orderly_end();
}

#[test]
fn the_command_says_so_when_nobody_runs() {
    let plan = playground!();
    let ran = plan.run_verb(&["metrics"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.contains("playground is not running"), "{ran:?}");
    assert_eq!(ran.stdout, "");
}

/// The control socket answers while a worker spins, and nobody waits for it.
#[test]
fn a_worker_that_hangs_does_not_keep_the_numbers_back() {
    let cluster = playground!().start();
    let _spinning = cluster.spin(1);
    let begun = Instant::now();
    let metrics = cluster.metrics();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(metrics.count("hatchery_workers_ready"), 2);
    cluster.expect_orderly_end();
}
