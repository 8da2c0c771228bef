//! The state that all processes share: right whichever worker asks, and whoever dies.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use hatchery_tests::process::kill;
use hatchery_tests::state::{add, answer, ask, done, get, send};
use hatchery_tests::{Plan, http, playground, step, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

fn counter() -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_counter"))
}

fn set(key: &str, value: &Value) -> Value {
    json!({ "do": "set", "key": key, "value": value })
}

fn epoch() -> Value {
    json!({ "do": "epoch" })
}

fn until_forgotten() -> Value {
    json!({ "do": "add-until-forgotten", "key": "n" })
}

#[track_caller]
fn expect_forgotten((status, said): (u16, Value)) {
    assert_eq!(status, 400, "{said}");
    assert!(said.as_str().unwrap().contains("begun anew"), "{said}");
}

/// What the counter counted for this request, if it was answered.
fn counted(address: std::net::SocketAddr) -> Option<(i64, u64)> {
    let response = http::get(address, "/").ok()?;
    let answer: Value = serde_json::from_slice(&response.body).ok()?;
    Some((answer["requests"].as_i64()?, answer["slot"].as_u64()?))
}

#[test]
fn every_worker_counts_on() {
    let cluster = counter().workers(4).start();
    let answers: Vec<_> = (0..40)
        .map(|_| counted(cluster.address()).unwrap())
        .collect();
    let counts: Vec<i64> = answers.iter().map(|(count, _)| *count).collect();
    assert_eq!(counts, (1..=40).collect::<Vec<i64>>());
    let slots: BTreeSet<u64> = answers.iter().map(|(_, slot)| *slot).collect();
    assert_eq!(slots.len(), 4, "all of them answer");
    cluster.expect_orderly_end();
}

#[test]
fn a_counter_is_right_whichever_worker_is_killed() {
    let cluster = counter().workers(3).start();
    let address = cluster.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let answers = (0..300).map(|_| counted(address));
                answers.collect::<Vec<_>>()
            })
        })
        .collect();
    for slot in [0, 1, 2, 0, 1, 2] {
        let mark = cluster.mark();
        kill(cluster.worker(slot), Signal::KILL);
        cluster.wait_since(mark, step("worker-ready").slot(slot));
    }
    let answers: Vec<_> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    let (last, _) = counted(address).unwrap();
    let counts: Vec<i64> = answers.iter().flatten().map(|(count, _)| *count).collect();
    let distinct: BTreeSet<i64> = counts.iter().copied().collect();
    assert_eq!(distinct.len(), counts.len(), "no count was given twice");
    let (answered, asked) = (counts.len(), answers.len());
    let known = usize::try_from(last).unwrap() - 1;
    assert!(
        (answered..=asked).contains(&known),
        "{answered} of {asked} were answered, and {known} counted"
    );
    assert!(answered >= asked / 2, "{answered} of {asked}");
    cluster.expect_orderly_end();
}

#[test]
fn one_of_all_gets_a_lock() {
    let cluster = counter().workers(3).start();
    let address = cluster.address();
    let clients: Vec<_> = (0..12)
        .map(|_| thread::spawn(move || http::get(address, "/once/backup").unwrap()))
        .collect();
    let answers: Vec<String> = clients
        .into_iter()
        .map(|client| client.join().unwrap().text().to_owned())
        .collect();
    let holders: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.strip_suffix(" does it\n"))
        .collect();
    assert_eq!(holders.len(), 1, "{answers:?}");
    let others = format!("{} has it\n", holders[0]);
    assert_eq!(answers.iter().filter(|a| **a == others).count(), 11);
    cluster.stop();
}

#[test]
fn what_one_worker_sets_the_others_see() {
    let cluster = playground!().start();
    let value = json!({ "a": [1, null, "x"] });
    done(&cluster, &set("k", &value));
    // Two connections in a row go to two workers.
    for _ in 0..4 {
        assert_eq!(done(&cluster, &get("k")), value);
    }
    let swap = json!({ "do": "swap", "key": "k", "expected": value, "new": 5 });
    assert_eq!(done(&cluster, &swap), "done");
    assert_eq!(done(&cluster, &swap), json!({ "differs": 5 }));
    assert_eq!(done(&cluster, &add("k", -7)), -2);
    let remove = json!({ "do": "remove", "key": "k" });
    assert_eq!(done(&cluster, &remove), true);
    assert_eq!(done(&cluster, &remove), false);
    assert_eq!(done(&cluster, &get("k")), Value::Null);
    // The agent uses it as workers do.
    let agent = cluster.agent();
    cluster.expect("the agent has signed", || {
        done(&cluster, &get("agent")) == json!(agent)
    });
    cluster.stop();
}

#[test]
fn values_expire() {
    let cluster = playground!().start();
    let set = |ms: u64| json!({ "do": "set", "key": "k", "value": 1, "expiry_ms": ms });
    done(&cluster, &set(3_600_000));
    assert_eq!(done(&cluster, &get("k")), 1);
    done(&cluster, &set(20));
    cluster.expect("it expires", || done(&cluster, &get("k")).is_null());
    cluster.stop();
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let cluster = playground!().start();
    done(&cluster, &set("text", &json!("x")));
    done(&cluster, &set("most", &json!(i64::MAX)));
    let cases = [
        (add("", 1), 400, "a key cannot be empty"),
        (add(&"k".repeat(256), 1), 400, "256 bytes is too long"),
        (
            set("k", &json!("v".repeat(65_536))),
            400,
            "65538 bytes is too large, 65536",
        ),
        (add("text", 1), 400, "not an integer"),
        (add("most", 1), 400, "not an integer of 64 bits"),
        (
            json!({ "do": "set", "key": "k", "value": 1, "expiry_ms": 0 }),
            400,
            "cannot expire at once",
        ),
        (
            json!({ "do": "get-number", "key": "text" }),
            409,
            "another type",
        ),
    ];
    for (operation, status, why) in cases {
        let (got, said) = ask(&cluster, &operation);
        assert_eq!(got, status, "{said}");
        assert!(said.as_str().unwrap().contains(why), "{said}");
    }
    assert_eq!(done(&cluster, &get("k")), Value::Null, "nothing was done");
    cluster.stop();
}

#[test]
fn a_value_larger_than_a_message_is_refused_before_it_is_sent() {
    let cluster = playground!().flag("--max-message", "64KiB").start();
    let (status, said) = ask(&cluster, &set("k", &json!("v".repeat(65_500))));
    assert_eq!(status, 503);
    assert!(said.as_str().unwrap().contains("`max_message`"), "{said}");
    cluster.stop();
}

#[test]
fn nothing_is_done_after_its_deadline() {
    let cluster = playground!().start();
    let agent = cluster.agent();
    assert_eq!(done(&cluster, &add("n", 1)), 1);
    kill(agent, Signal::STOP);
    let late = json!({ "do": "add", "key": "n", "by": 1, "within_ms": 100 });
    let (status, said) = ask(&cluster, &late);
    assert_eq!(status, 504, "{said}");
    assert!(said.as_str().unwrap().contains("not known"), "{said}");
    wait::pass(Duration::from_millis(100));
    kill(agent, Signal::CONT);
    assert_eq!(done(&cluster, &add("n", 1)), 2);
    cluster.stop();
}

#[test]
fn a_reload_of_the_workers_forgets_nothing() {
    let cluster = playground!().start();
    let before = done(&cluster, &epoch());
    assert_eq!(done(&cluster, &add("n", 1)), 1);
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    assert_eq!(done(&cluster, &add("n", 1)), 2);
    assert_eq!(done(&cluster, &epoch()), before);
    cluster.stop();
}

#[test]
fn another_agent_begins_anew_and_says_so() {
    let cluster = playground!().start();
    let before = done(&cluster, &epoch());
    done(&cluster, &set("k", &json!(1)));
    let address = cluster.address();
    let waiting = thread::spawn(move || {
        let mut connection = http::connect(address).unwrap();
        send(&mut connection, &until_forgotten());
        answer(&mut connection)
    });
    cluster.expect("it adds", || !done(&cluster, &get("n")).is_null());
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    // The new one is told to begin at once; until then nothing is done, and that is said.
    let answer = wait::until(wait::PATIENCE, || {
        let (status, value) = ask(&cluster, &epoch());
        assert!([200, 503, 504].contains(&status), "{status} {value}");
        (status == 200).then_some(value)
    });
    assert_ne!(answer, Some(before));
    assert_eq!(done(&cluster, &get("k")), Value::Null);
    expect_forgotten(waiting.join().unwrap());
    assert_eq!(
        done(&cluster, &get("n")),
        Value::Null,
        "never in another epoch"
    );
    cluster.stop();
}

/// A worker of before that drains is answered by the next agent, and by that alone.
#[test]
fn a_reload_with_the_agent_begins_anew() {
    let cluster = playground!().start();
    let before = done(&cluster, &epoch());
    assert_eq!(done(&cluster, &add("k", 1)), 1);
    let mut draining = cluster.connect();
    send(&mut draining, &until_forgotten());
    cluster.expect("it adds", || !done(&cluster, &get("n")).is_null());
    let ran = cluster.verb(&["reload", "--agent"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    expect_forgotten(answer(&mut draining));
    assert_ne!(done(&cluster, &epoch()), before);
    assert_eq!(done(&cluster, &get("n")), Value::Null);
    assert_eq!(done(&cluster, &add("k", 1)), 1);
    cluster.stop();
}

/// Each master has a cluster of its own, and a state of its own while it lasts.
#[test]
fn an_upgrade_begins_anew_and_workers_that_drain_have_what_stays() {
    for (stand_down, stays) in [(None, false), (Some("ok"), true)] {
        let mut plan = playground!().upgradable();
        if let Some(what) = stand_down {
            plan = plan.agent_stand_down(what);
        }
        let gate = plan.path("gate");
        let cluster = plan.start();
        let before = done(&cluster, &epoch());
        assert_eq!(done(&cluster, &add("n", 1)), 1);
        let mut draining = cluster.connect();
        send(
            &mut draining,
            &json!({ "do": "add", "key": "n", "by": 1, "gate": gate }),
        );
        cluster.expect_status("the request is under way", |status| {
            let workers = status["workers"].as_array().into_iter().flatten();
            let in_flight = workers.filter_map(|worker| worker["in_flight"].as_u64());
            in_flight.sum::<u64>() > 0
        });
        let ran = cluster.verb(&["upgrade"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_ne!(done(&cluster, &epoch()), before);
        assert_eq!(done(&cluster, &add("n", 10)), 10);
        fs::write(&gate, "").unwrap();
        let (status, said) = answer(&mut draining);
        if stays {
            assert_eq!((status, said), (200, json!(2)));
        } else {
            assert_eq!(status, 503, "{said}");
        }
        assert_eq!(cluster.follow().code(), Some(0));
        assert_eq!(done(&cluster, &get("n")), 10);
        cluster.stop();
    }
}
