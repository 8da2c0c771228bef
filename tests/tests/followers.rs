//! One client in the agent, followed by all workers: the example `settings`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::PathBuf;
use std::thread;

use hatchery_tests::http::Response;
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Plan, http, step, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A cluster, and the file that its agent looks at.
fn settings(workers: u32) -> (Cluster, PathBuf) {
    start(Plan::new(env!("CARGO_BIN_EXE_settings")).workers(workers))
}

fn start(plan: Plan) -> (Cluster, PathBuf) {
    let file = plan.path("settings.json");
    (plan.env("SETTINGS_FILE", &file).start(), file)
}

fn put_file(file: &PathBuf, entries: &Value) {
    let new = file.with_extension("test");
    fs::write(&new, entries.to_string()).unwrap();
    fs::rename(new, file).unwrap();
}

fn ask(cluster: &Cluster, path: &str) -> Response {
    http::get(cluster.address(), path).unwrap()
}

/// Publishes by whichever worker gets the request.
fn publish(cluster: &Cluster, key: &str, value: &Value) -> Response {
    let body = value.to_string();
    let head = format!(
        "PUT /settings/{key} HTTP/1.1\r\nHost: settings\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = cluster.connect();
    connection.send((head + &body).as_bytes()).unwrap();
    connection.receive().unwrap()
}

/// Publishes until it is done: on a busy machine the second may pass that the example waits for.
fn expect_published(cluster: &Cluster, key: &str, value: &Value) {
    cluster.expect("it is published", || {
        let answer = publish(cluster, key, value);
        let is_late = answer.status == 504 && answer.text().contains("in time");
        assert!(answer.status == 204 || is_late, "{}", answer.text());
        !is_late
    });
}

/// Connections in a row go to all workers in turn: these are more than enough for each.
fn everybody_shows(cluster: &Cluster, banner: &str) {
    cluster.expect(banner, || {
        (0..8).all(|_| ask(cluster, "/").text() == banner)
    });
}

#[test]
fn everybody_follows_what_one_process_watches() {
    let (cluster, file) = settings(3);
    everybody_shows(&cluster, "welcome");
    put_file(&file, &json!({ "banner": "one" }));
    everybody_shows(&cluster, "one");
    put_file(&file, &json!({ "banner": "two", "other": 1 }));
    everybody_shows(&cluster, "two");
    cluster.expect_orderly_end();
}

#[test]
fn what_one_worker_publishes_all_get() {
    let (cluster, file) = settings(3);
    assert_eq!(publish(&cluster, "banner", &json!("new")).status, 204);
    everybody_shows(&cluster, "new");
    assert_eq!(publish(&cluster, "limit", &json!(7)).status, 204);
    assert_eq!(ask(&cluster, "/settings").text(), r#"["banner","limit"]"#);
    let entries: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(entries, json!({ "banner": "new", "limit": 7 }));
    cluster.stop();
}

#[test]
fn who_comes_late_has_the_last_value() {
    let (cluster, _file) = settings(1);
    publish(&cluster, "banner", &json!("last"));
    everybody_shows(&cluster, "last");
    // A subscription of a moment, and a worker that was not there.
    assert_eq!(ask(&cluster, "/settings/banner").text(), "\"last\"");
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    everybody_shows(&cluster, "last");
    cluster.stop();
}

#[test]
fn followers_go_on_with_the_next_agent() {
    let (cluster, file) = settings(2);
    put_file(&file, &json!({ "banner": "before" }));
    everybody_shows(&cluster, "before");
    kill(cluster.agent(), Signal::KILL);
    // Changed while nobody looks, or just after.
    put_file(&file, &json!({ "banner": "meanwhile" }));
    assert!(["before", "meanwhile"].contains(&ask(&cluster, "/").text()));
    everybody_shows(&cluster, "meanwhile");
    assert_eq!(cluster.verb(&["reload", "--agent"]).code, Some(0));
    put_file(&file, &json!({ "banner": "after" }));
    everybody_shows(&cluster, "after");
    cluster.stop();
}

#[test]
fn followers_of_the_next_master_have_the_last_value() {
    let (cluster, file) = start(
        Plan::new(env!("CARGO_BIN_EXE_settings"))
            .workers(2)
            .upgradable(),
    );
    expect_published(&cluster, "banner", &json!("before"));
    everybody_shows(&cluster, "before");
    for banner in ["one", "two"] {
        cluster.upgrade();
        // Their leader has it from where it always comes from.
        everybody_shows(&cluster, "before");
        put_file(&file, &json!({ "banner": banner }));
        everybody_shows(&cluster, banner);
        expect_published(&cluster, "banner", &json!("before"));
        everybody_shows(&cluster, "before");
        cluster.expect("its keys are told", || {
            ask(&cluster, "/settings").text() == r#"["banner"]"#
        });
    }
    cluster.stop();
}

#[test]
fn the_last_value_outlives_its_agent() {
    let (cluster, file) = settings(2);
    put_file(&file, &json!({ "banner": "last" }));
    everybody_shows(&cluster, "last");
    let agent = cluster.agent();
    kill(agent, Signal::STOP);
    everybody_shows(&cluster, "last");
    // Whoever has to ask hears that nobody answers, by the deadline.
    let answer = ask(&cluster, "/settings");
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("in time"), "{}", answer.text());
    kill(agent, Signal::CONT);
    assert_eq!(ask(&cluster, "/settings").text(), r#"["banner"]"#);
    cluster.stop();
}

#[test]
fn the_agent_dies_under_a_call() {
    let (cluster, _file) = settings(2);
    let address = cluster.address();
    let agent = cluster.agent();
    kill(agent, Signal::STOP);
    let call = thread::spawn(move || http::get(address, "/settings").unwrap());
    cluster.expect_status("the call is under way", |status| {
        let workers = status["workers"].as_array().into_iter().flatten();
        workers
            .filter_map(|worker| worker["in_flight"].as_u64())
            .sum::<u64>()
            > 0
    });
    kill(agent, Signal::KILL);
    let answer = call.join().unwrap();
    // Whether the call was under way to the agent, or found none.
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    let answered = wait::until(wait::PATIENCE, || {
        let answer = ask(&cluster, "/settings");
        (answer.status == 200).then(|| answer.text().to_owned())
    });
    assert_eq!(answered.as_deref(), Some("[]"));
    cluster.stop();
}

#[test]
fn refusals_come_with_their_reasons() {
    let (cluster, file) = settings(2);
    let cases = [
        (
            "/settings/_secret",
            400,
            "`settings` says: keys that begin with `_` are private",
        ),
        ("/settings/unset", 404, "no `unset` yet"),
    ];
    for (path, status, why) in cases {
        let answer = ask(&cluster, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    put_file(&file, &json!({ "banner": 5 }));
    cluster.expect("a value of another type is told", || {
        ask(&cluster, "/").text().contains("another type")
    });
    // One that is no message any more.
    let answer = publish(&cluster, "banner", &json!("v".repeat(1_100_000)));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("`max_message`"), "{}", answer.text());
    cluster.stop();
}

#[test]
fn an_agent_without_that_leader_says_so() {
    let (cluster, _file) = settings(2);
    let answer = ask(&cluster, "/prices");
    assert_eq!(answer.status, 400);
    let why = "the agent has no leader `prices`";
    assert!(answer.text().contains(why), "{}", answer.text());
    cluster.stop();
}
