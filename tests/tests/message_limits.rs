//! How much of messages is held where, whatever their size and the queue's, and that nobody waits for nobody.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;

use hatchery_protocol::post::Limits;
use hatchery_tests::mail::{agent_mail, ask, mail, mail_on, outcome, post};
use hatchery_tests::process::{self, kill};
use hatchery_tests::{Cluster, playground, wait};
use rustix::process::Signal;
use serde_json::json;

/// Payloads that a process holds in memory files.
fn memory_files(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let paths = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    paths
        .filter(|path| path.to_string_lossy().contains("hatchery-message"))
        .count()
}

/// Each way, as soon as there is room.
#[track_caller]
fn expect_answers(cluster: &Cluster) {
    for (from, to) in [(0, "slot:1"), (1, "slot:0")] {
        cluster.expect("an answer", || {
            mail(cluster, from, &ask(to, "echo", "x"))["answer"] == "x"
        });
    }
}

/// Whoever stands still is sent what fits the queue and not one message more, and that is all that the master holds.
fn who_stands_still_is_sent(queue: &str, window: u32, size: u64) {
    let cluster = playground!()
        .workers(2)
        .flag("--message-queue", queue)
        .start();
    let (master, stopped) = (cluster.master(), cluster.worker(1));
    let (mut connection, _) = cluster.connect_to(0);
    let before = process::resident_bytes(master);
    kill(stopped, Signal::STOP);
    let flood = json!({ "do": "flood", "to": "slot:1", "size": size, "for_ms": 1000 });
    let answer = mail_on(&mut connection, &flood);
    let limits = Limits {
        window,
        ..Limits::default()
    };
    let cost = limits.cost("flood".len(), usize::try_from(size).unwrap());
    let fit = (window as usize).div_ceil(cost);
    assert_eq!(answer["accepted"], fit, "{cost} each: {answer}");
    assert!(answer["full"].as_u64().unwrap() > 0, "{answer}");
    let held = memory_files(master);
    assert!(held <= fit, "{held} files of {fit} messages");
    let grown = process::resident_bytes(master).saturating_sub(before);
    // What is in memory files is nobody's resident memory, and counted all the same.
    let most = (fit * cost) as u64 + (4 << 20);
    assert!(grown < most, "{grown} bytes");
    kill(stopped, Signal::CONT);
    wait::expect("nobody holds a file", || {
        cluster
            .everybody()
            .into_iter()
            .chain([master])
            .all(|pid| memory_files(pid) == 0)
    });
    expect_answers(&cluster);
    cluster.stop().expect_no("worker-replaced");
}

#[test]
fn small_payloads_and_a_small_queue() {
    who_stands_still_is_sent("64KiB", 64 << 10, 1000);
}

#[test]
fn large_payloads_and_a_small_queue() {
    who_stands_still_is_sent("64KiB", 64 << 10, 100_000);
}

#[test]
fn large_payloads_and_the_usual_queue() {
    who_stands_still_is_sent("1MiB", 1 << 20, 100_000);
}

#[test]
fn large_payloads_and_a_large_queue() {
    who_stands_still_is_sent("4MiB", 4 << 20, 100_000);
}

#[test]
fn the_largest_payloads_and_a_large_queue() {
    who_stands_still_is_sent("4MiB", 4 << 20, 1 << 20);
}

/// Each fills the other one's queue and socket again and again, and reads its own all the same.
#[test]
fn two_that_flood_each_other_go_on() {
    let cluster = playground!().workers(2).start();
    for size in [1000, 32_000, 100_000] {
        // Far more than the queues and the sockets together.
        let count = (16 << 20) / size;
        let push = |to: &str| json!({ "do": "push", "to": to, "size": size, "count": count });
        let (mut one, _) = cluster.connect_to(0);
        let (mut other, _) = cluster.connect_to(1);
        post(&mut one, &push("slot:1"));
        post(&mut other, &push("slot:0"));
        for answer in [outcome(&mut one), outcome(&mut other)] {
            assert_eq!(answer["accepted"], count, "{answer}");
            assert!(answer["full"].as_u64().unwrap() > 0, "{answer}");
        }
        expect_answers(&cluster);
    }
    cluster.stop().expect_no("worker-replaced");
}

/// A slot is nobody's at no moment: who comes has joined before the one that leaves is asked to.
#[test]
fn in_a_reload_the_next_one_has_joined_before_the_old_one_leaves() {
    let cluster = playground!().workers(2).start();
    let old = [cluster.worker(0), cluster.worker(1)];
    let reload = cluster.verb(&["reload"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    for (slot, old) in (0..2).zip(old) {
        let name = format!("worker {slot}");
        let new = cluster.worker(slot);
        let wanted = [
            json!(["joined", name, old]),
            json!(["joined", name, new]),
            json!(["leaving", name, old]),
            json!(["left", name, old]),
        ];
        wait::expect("the agent has heard all of it", || {
            let events = agent_mail(&cluster, &json!({ "do": "peers" }));
            let events = events.as_array().unwrap().iter();
            let about: Vec<_> = events.filter(|event| event[1] == name).collect();
            about == wanted.iter().collect::<Vec<_>>()
        });
    }
}
