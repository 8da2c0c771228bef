//! The example `hello`: everybody says that it has started, in order, and who answers can be seen.

use std::collections::BTreeSet;

use hatchery_tests::http::get;
use hatchery_tests::{Plan, wait};

/// The master says who has started, in order, one line each; and each process says so itself, once, whenever its line gets through.
#[test]
fn everybody_says_once_that_it_started_in_order() {
    let cluster = Plan::new(env!("CARGO_BIN_EXE_hello")).workers(4).start();
    let (agent, workers) = (
        cluster.agent(),
        [0, 1, 2, 3].map(|slot| cluster.worker(slot)),
    );
    let mut own = workers
        .map(|pid| format!("worker process {pid} started"))
        .to_vec();
    own.push("the agent is ready, the workers may start".to_owned());
    own.push("everybody is ready, 4 workers among them".to_owned());
    wait::expect("everybody has said so", || {
        let log = cluster.stderr();
        own.iter().all(|words| log.contains(words))
    });
    let log = cluster.stderr();
    for words in &own {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
    let mut steps = vec![
        "master-started".to_owned(),
        format!("agent-spawned: agent (pid {agent})"),
        format!("agent-ready: agent (pid {agent})"),
    ];
    let spawned = |(slot, pid)| format!("worker-spawned: worker {slot} (pid {pid})");
    steps.extend(workers.iter().enumerate().map(spawned));
    steps.push("egg-ready".to_owned());
    let places: Vec<Option<usize>> = steps.iter().map(|step| log.find(step)).collect();
    assert!(places.iter().all(Option::is_some), "{steps:?} in {log}");
    assert!(places.is_sorted(), "{steps:?} in {log}");
    for (slot, pid) in workers.iter().enumerate() {
        let ready = log.find(&format!("worker-ready: worker {slot} (pid {pid})"));
        let place = places.get(slot + 3).copied().flatten();
        assert!(
            place < ready && ready < places.last().copied().flatten(),
            "{log}"
        );
    }
    cluster.stop();
}

#[test]
fn one_port_is_answered_by_every_worker_in_turn() {
    let cluster = Plan::new(env!("CARGO_BIN_EXE_hello")).workers(4).start();
    let hello = get(cluster.address(), "/").map(|answer| answer.body);
    assert_eq!(hello.ok().as_deref(), Some(b"Hello World".as_slice()));
    let mut seen = BTreeSet::new();
    wait::expect("everybody answers", || {
        seen.insert(cluster.get("/whoami"));
        seen.len() == 4
    });
    cluster.stop();
}
