//! What the processes write: every line says whose it is, and the last words of a failed start are quoted.

use hatchery_tests::event::position;
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, playground, step};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn the_last_words_of_a_failed_start_are_quoted() {
    let ended = playground!()
        .worker_start("panic")
        .only_slot(1)
        .run_to_end();
    ended.expect_code(3);
    let stopping = &ended.events[position(&ended.events, "stopping")];
    let (cause, words) = stopping.why().split_once("the last it wrote:").unwrap();
    assert!(
        cause.contains("worker 1") && cause.contains("Worker::start panicked"),
        "{cause}"
    );
    // Written by the worker itself, with its own mark.
    let pid = ended.events[position(&ended.events, step("worker-spawned").slot(1))]
        .pid
        .unwrap();
    assert!(words.contains("this was asked for"), "{words}");
    assert!(words.contains(&pid.to_string()), "{words}");
    ended.expect_stderr(&["this was asked for", "worker 1 failed to start"]);
}

#[test]
fn a_failed_start_without_last_words_quotes_none() {
    let ended = playground!()
        .worker_start("exit:7")
        .only_slot(0)
        .run_to_end();
    ended
        .expect_code(3)
        .expect_stderr(&["worker 0", "exited with code 7"]);
    let stopping = &ended.events[position(&ended.events, "stopping")];
    assert!(
        !stopping.why().contains("the last it wrote"),
        "{stopping:?}"
    );
}

/// A life in which master, agent and workers all have something to say.
fn eventful_life(format: &str) -> (Cluster, String) {
    let cluster = playground!()
        .flag("--log-format", format)
        .before_close("panic")
        .start();
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    let ended = cluster.expect_orderly_end();
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    (cluster, ended.stderr)
}

#[test]
fn every_line_of_a_json_log_says_who_wrote_it() {
    let (cluster, log) = eventful_life("json");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for line in &lines {
        for text in ["ts", "level", "role", "message"] {
            assert!(line[text].is_string(), "{text} of {line}");
        }
        for number in ["pid", "generation"] {
            assert!(line[number].is_u64(), "{number} of {line}");
        }
        assert_eq!(line["slot"].is_u64(), line["role"] == "worker", "{line}");
    }
    let wrote = |role: &str, pid: u32| {
        assert!(
            lines
                .iter()
                .any(|line| line["role"] == role && line["pid"] == pid),
            "not a line of {role} {pid}"
        );
    };
    wrote("master", cluster.master());
    wrote("agent", cluster.agent());
    wrote("worker", cluster.worker(0));
    wrote("worker", cluster.worker(1));
}

#[test]
fn every_line_of_a_text_log_says_who_wrote_it() {
    let (cluster, log) = eventful_life("text");
    let marks = [
        format!("master [pid {}", cluster.master()),
        format!("agent [pid {}", cluster.agent()),
        format!("worker 0 [pid {}", cluster.worker(0)),
        format!("worker 1 [pid {}", cluster.worker(1)),
    ];
    for mark in &marks {
        assert!(log.contains(mark.as_str()), "no {mark} in {log}");
    }
    assert!(!log.contains('\u{1b}'), "no colours for a file");
}

#[test]
fn every_step_of_the_lifecycle_is_in_the_log() {
    let (cluster, log) = eventful_life("json");
    for event in cluster.events() {
        let logged = log.lines().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["role"] == "master" && line.to_string().contains(&event.event)
        });
        assert!(logged, "{event:?}");
    }
}

#[test]
fn a_worker_writes_without_its_master() {
    // Nothing of the connection is the master's, so that its end is seen while the master is suspended.
    let cluster = playground!().flag("--strategy", "shared").start();
    cluster.wait_hooks("egg_ready", 3);
    let (mut connection, _) = cluster.connect_to(0);
    cluster.signal(Signal::STOP);
    let _ = connection.get("/panic");
    cluster.expect("the panic is told", || {
        cluster.stderr().contains("this was asked for")
    });
    cluster.signal(Signal::CONT);
    cluster.stop();
}

#[test]
fn a_log_file_gets_what_everybody_writes() {
    let plan = playground!();
    let log = plan.path("log");
    let cluster = plan.flag("--log-file", &log).before_close("panic").start();
    let ended = cluster.expect_orderly_end();
    let written = std::fs::read_to_string(log).unwrap();
    for mark in [
        "master [pid",
        "agent [pid",
        "worker 0 [pid",
        "worker 1 [pid",
    ] {
        assert!(written.contains(mark), "no {mark} in {written}");
    }
    assert!(
        ended.stderr.is_empty() && ended.stdout.is_empty(),
        "{ended:?}"
    );
}

#[test]
fn what_is_logged_can_be_chosen() {
    let quiet = playground!().flag("--log-level", "error").start();
    let ended = quiet.stop();
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
    let loud = playground!().flag("--log-level", "debug").start();
    let ended = loud.stop();
    assert!(!ended.stderr.is_empty());
}
