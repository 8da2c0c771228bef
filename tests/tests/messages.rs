//! What processes say to each other, as the application sees it.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::time::{Duration, Instant};

use hatchery_tests::mail::{agent_mail, ask, error, mail, mail_on, noted, post, send, texts};
use hatchery_tests::process::{self, kill};
use hatchery_tests::{Cluster, link, playground, step, wait};
use rustix::net::{self, SendFlags};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Everybody's notes from one sender: the agent's first, then by slot.
fn everybodys(cluster: &Cluster, workers: u32, from: &str) -> Vec<Vec<String>> {
    let agents = agent_mail(cluster, &json!({ "do": "noted" }));
    let slots = (0..workers).map(|slot| noted(cluster, slot, from));
    std::iter::once(texts(&agents, from)).chain(slots).collect()
}

/// How many notes of that text each has: the agent, then by slot.
fn counts(cluster: &Cluster, workers: u32, from: &str, text: &str) -> Vec<usize> {
    let all = everybodys(cluster, workers, from);
    let count = |notes: Vec<String>| notes.iter().filter(|note| *note == text).count();
    all.into_iter().map(count).collect()
}

#[track_caller]
fn expect_counts(cluster: &Cluster, from: &str, text: &str, wanted: [usize; 3]) {
    wait::expect(&format!("{text} at {wanted:?}"), || {
        counts(cluster, 2, from, text) == wanted
    });
}

/// Egg's counts: two workers and the agent each broadcast once, which is nine deliveries.
#[test]
fn a_broadcast_reaches_everybody_and_the_sender() {
    let cluster = playground!().workers(2).start();
    assert_eq!(mail(&cluster, 0, &send("all", "b"))["accepted"], 3);
    assert_eq!(mail(&cluster, 1, &send("all", "b"))["accepted"], 3);
    assert_eq!(agent_mail(&cluster, &send("all", "b"))["accepted"], 3);
    for from in ["worker 0", "worker 1", "agent"] {
        expect_counts(&cluster, from, "b", [1, 1, 1]);
    }
}

#[test]
fn each_target_reaches_whom_it_names() {
    let cluster = playground!().workers(2).start();
    let cases = [
        ("agent", "a1", [1, 0, 0], 1),
        ("workers", "a2", [0, 1, 1], 2),
        ("own", "a3", [0, 1, 1], 2),
        ("slot:1", "a4", [0, 0, 1], 1),
        ("slot:0", "a5", [0, 1, 0], 1),
    ];
    for (to, text, wanted, accepted) in cases {
        assert_eq!(mail(&cluster, 0, &send(to, text))["accepted"], accepted);
        expect_counts(&cluster, "worker 0", text, wanted);
    }
    let cases = [
        ("agent", "b1", [1, 0, 0]),
        ("workers", "b2", [0, 1, 1]),
        ("own", "b3", [1, 0, 0]),
        ("slot:1", "b4", [0, 0, 1]),
    ];
    for (to, text, wanted) in cases {
        agent_mail(&cluster, &send(to, text));
        expect_counts(&cluster, "agent", text, wanted);
    }
}

/// A process, and not whoever has its slot: each gets its own back.
#[test]
fn one_process_can_be_meant() {
    let cluster = playground!().workers(2).start();
    let back = json!({ "do": "send", "to": "all", "topic": "back", "text": "to you" });
    assert_eq!(mail(&cluster, 1, &back)["accepted"], 3);
    for from in ["agent", "worker 0", "worker 1"] {
        expect_counts(&cluster, from, "to you", [0, 0, 1]);
    }
}

#[test]
fn a_random_worker_is_any_of_them() {
    let cluster = playground!().workers(3).start();
    let command =
        json!({ "do": "send", "to": "random", "topic": "note", "text": "r", "count": 100 });
    assert_eq!(mail(&cluster, 0, &command)["accepted"], 100);
    assert_eq!(agent_mail(&cluster, &command)["accepted"], 100);
    for from in ["worker 0", "agent"] {
        wait::expect("a hundred notes, each at one of several", || {
            let all = everybodys(&cluster, 3, from);
            let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
            lengths[0] == 0
                && lengths.iter().sum::<usize>() == 100
                && lengths[1..].iter().all(|length| *length > 5)
        });
    }
}

#[test]
fn messages_keep_their_order() {
    let cluster = playground!().workers(2).start();
    let many = json!({ "do": "send", "to": "all", "topic": "note", "text": "", "count": 3000 });
    for slot in [0, 1] {
        assert_eq!(mail(&cluster, slot, &many)["accepted"], 9000);
    }
    let wanted: Vec<String> = (0..3000).map(|n: u32| n.to_string()).collect();
    for from in ["worker 0", "worker 1"] {
        wait::expect("all of them, in order, once", || {
            let all = everybodys(&cluster, 2, from);
            all.iter().all(|notes| *notes == wanted)
        });
    }
}

/// What `start` sends is kept, in order, and reaches everybody: also those that were not there yet.
#[test]
fn what_is_sent_before_egg_ready_is_delivered_after_it() {
    let cluster = playground!()
        .workers(2)
        .env("PLAYGROUND_EARLY", "50")
        .start();
    let wanted: Vec<String> = (0..50).map(|n| format!("early {n}")).collect();
    for from in ["agent", "worker 0", "worker 1"] {
        wait::expect("everything, in order", || {
            let all = everybodys(&cluster, 2, from);
            all.iter().all(|notes| *notes == wanted)
        });
    }
}

/// A replacement's, too: what it sends in `start` waits until it is told to begin.
#[test]
fn what_a_replacement_sends_early_is_delivered_after_its_egg_ready() {
    let cluster = playground!()
        .workers(2)
        .env("PLAYGROUND_EARLY", "50")
        .start();
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    let new = cluster.worker(1);
    let wanted: Vec<String> = (0..50).map(|n| format!("early {n}")).collect();
    wait::expect("everything of the new one's, in order", || {
        let notes = mail(&cluster, 0, &json!({ "do": "noted" }));
        let notes = notes.as_array().unwrap().iter();
        let texts = notes.filter(|note| note[1] == new).map(|note| &note[2]);
        texts.eq(wanted.iter())
    });
}

/// What a process has sent arrives, although it is dead before anybody could pass it on.
#[test]
fn what_the_dead_have_sent_arrives() {
    let cluster = playground!().workers(2).start();
    let (mut sender, _) = cluster.connect_to(0);
    let (mut receiver, _) = cluster.connect_to(1);
    cluster.signal(Signal::STOP);
    let many = json!({ "do": "send", "to": "slot:1", "topic": "note", "text": "", "count": 100 });
    assert_eq!(mail_on(&mut sender, &many)["accepted"], 100);
    // Behind it: when that is answered, the others have left the process, too.
    assert_eq!(sender.whoami().unwrap().slot, 0);
    kill(cluster.worker(0), Signal::KILL);
    process::expect_dead(cluster.worker(0));
    cluster.signal(Signal::CONT);
    let wanted: Vec<String> = (0..100).map(|n: u32| n.to_string()).collect();
    wait::expect("all of it, in order", || {
        let notes = mail_on(&mut receiver, &json!({ "do": "noted" }));
        texts(&notes, "worker 0") == wanted
    });
    cluster.wait(step("worker-replaced").slot(0));
}

#[test]
fn requests_are_answered() {
    let cluster = playground!().workers(2).start();
    for to in ["agent", "slot:0", "slot:1", "random"] {
        let answer = mail(&cluster, 0, &ask(to, "echo", "hello"));
        assert_eq!(answer["answer"], "hello", "{to}");
    }
    assert_eq!(
        agent_mail(&cluster, &ask("slot:1", "echo", "x"))["answer"],
        "x"
    );
    let all =
        json!({ "do": "ask-all", "to": "all", "topic": "echo", "text": "y", "within_ms": 20_000 });
    let answers = mail(&cluster, 1, &all);
    let mut answers: Vec<String> = answers["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    answers.sort();
    let wanted = [
        r#"["agent","y"]"#,
        r#"["worker 0","y"]"#,
        r#"["worker 1","y"]"#,
    ];
    assert_eq!(answers, wanted);
}

#[test]
fn every_way_to_get_no_answer_has_its_own_name() {
    let cluster = playground!().workers(2).start();
    let failure = |command: Value| error(&mail(&cluster, 0, &command)).to_owned();
    assert!(failure(ask("slot:7", "echo", "")).contains("no ready process is worker 7"));
    assert!(failure(ask("process:999", "echo", "")).contains("no ready process is process #999"));
    assert!(failure(ask("agent", "nobody-listens", "")).contains("agent (pid "));
    assert!(failure(ask("agent", "drop", "")).contains("did not answer"));
    assert!(failure(ask("slot:1", "refuse", "because")).contains("refused: because"));
    assert!(failure(ask("all", "echo", "")).contains("ask them with `request_all`"));
    assert!(failure(ask("agent", "", "")).contains("a topic cannot be empty"));
    assert!(failure(ask("agent", &"t".repeat(256), "")).contains("256 bytes is too long"));
    let late = json!({ "do": "ask", "to": "agent", "topic": "hold", "text": "", "within_ms": 50 });
    assert!(failure(late).contains("no answer came in time"));
    let late =
        json!({ "do": "ask-all", "to": "all", "topic": "slow", "text": "60000", "within_ms": 50 });
    let answers = mail(&cluster, 0, &late);
    let answers = answers["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|a| error(&a[1]).contains("in time")));
}

/// An answer that comes after its deadline is nobody's: not even that of a question asked meanwhile.
#[test]
fn a_late_answer_reaches_no_other_request() {
    let cluster = playground!().workers(1).start();
    let (mut connection, _) = cluster.connect_to(0);
    for _ in 0..5 {
        let late =
            json!({ "do": "ask", "to": "agent", "topic": "slow", "text": "500", "within_ms": 10 });
        let answer = mail_on(&mut connection, &late);
        assert!(error(&answer).contains("in time"), "{answer}");
    }
    let mut round = 0;
    wait::meanwhile(Duration::from_secs(1), || {
        round += 1;
        let text = round.to_string();
        let answer = mail_on(&mut connection, &ask("agent", "echo", &text));
        assert_eq!(answer["answer"], text);
    });
}

#[test]
fn large_payloads_arrive_whole_and_too_large_ones_are_refused() {
    let cluster = playground!().workers(2).start();
    let sizes = [0, 1, 32 << 10, (32 << 10) + 1, 100_000, 1 << 20];
    for size in sizes {
        let answer = mail(
            &cluster,
            0,
            &json!({ "do": "bulk", "to": "all", "size": size }),
        );
        assert_eq!(answer["accepted"], 3, "{size}: {answer}");
        let sum: u64 = (0..=250_u64).cycle().take(size).sum();
        wait::expect("the payload", || {
            (0..2).all(|slot| {
                let notes = mail(&cluster, slot, &json!({ "do": "noted" }));
                let notes = notes.as_array().unwrap();
                notes.iter().any(|note| note[2] == size && note[3] == sum)
            })
        });
    }
    let text = "ä€𝄞".repeat(33_333);
    assert_eq!(mail(&cluster, 0, &send("slot:1", &text))["accepted"], 1);
    wait::expect("the text", || {
        let notes = mail(&cluster, 1, &json!({ "do": "noted" }));
        let mut notes = notes.as_array().unwrap().iter();
        notes.any(|note| note[2] == text)
    });
    let answer = mail(
        &cluster,
        0,
        &json!({ "do": "bulk", "to": "all", "size": (1 << 20) + 1 }),
    );
    assert!(error(&answer).contains("a payload of 1048577 bytes is too large"));
    // Nothing is left open on the way.
    wait::expect("no memory files in the master", || {
        !has_memory_files(cluster.master())
    });
}

fn has_memory_files(pid: u32) -> bool {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .any(|path| path.to_string_lossy().contains("hatchery-message"))
}

#[test]
fn the_limit_of_a_payload_can_be_set() {
    let cluster = playground!()
        .workers(1)
        .flag("--max-message", "2MiB")
        .start();
    let bulk = |size: u64| {
        mail(
            &cluster,
            0,
            &json!({ "do": "bulk", "to": "agent", "size": size }),
        )
    };
    assert_eq!(bulk(2 << 20)["accepted"], 1);
    assert!(error(&bulk((2 << 20) + 1)).contains("`max_message` allows 2097152"));
}

/// Whatever becomes of the one who was asked, the one who asked hears of it.
#[test]
fn the_death_of_who_was_asked_is_an_answer() {
    let cluster = playground!().workers(2).start();
    // In the middle of its work, by its own hand.
    let answer = mail(&cluster, 0, &ask("slot:1", "die", ""));
    assert!(
        error(&answer).contains("left without an answer"),
        "{answer}"
    );
    cluster.wait(step("worker-replaced").slot(1));
    wait::expect("the new one answers", || {
        mail(&cluster, 0, &ask("slot:1", "echo", "again"))["answer"] == "again"
    });
    // Standing still, so that the question waits in its socket.
    let (mut connection, _) = cluster.connect_to(0);
    let agent = cluster.agent();
    kill(agent, Signal::STOP);
    post(&mut connection, &ask("agent", "echo", "never"));
    let notes = mail(&cluster, 0, &send("own", "after the question"));
    assert_eq!(notes["accepted"], 2);
    kill(agent, Signal::KILL);
    let answer: Value = serde_json::from_slice(&connection.receive().unwrap().body).unwrap();
    assert!(error(&answer).contains("agent (pid "), "{answer}");
    assert!(
        error(&answer).contains("left without an answer"),
        "{answer}"
    );
    wait::expect("the new agent answers", || {
        mail(&cluster, 0, &ask("agent", "echo", "again"))["answer"] == "again"
    });
}

/// Whoever asked and died is no trouble to anybody; its number is not given to its replacement.
#[test]
fn the_death_of_who_asked_harms_nobody() {
    let cluster = playground!().workers(2).start();
    let (mut connection, _) = cluster.connect_to(1);
    post(&mut connection, &ask("agent", "slow", "300"));
    wait::expect("the agent has the question", || {
        mail(&cluster, 0, &ask("agent", "echo", "x"))["answer"] == "x"
    });
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    let answer = mail(&cluster, 1, &ask("agent", "slow", "600"));
    assert_eq!(answer["answer"], "600");
}

#[test]
fn while_there_is_no_agent_it_is_said_to_be_unavailable() {
    let cluster = playground!().workers(1).agent_start("ok").start();
    let (mut connection, _) = cluster.connect_to(0);
    // Twice: the second replacement waits for a moment.
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-exited", 2);
    wait::expect("a clear answer", || {
        let answer = mail_on(&mut connection, &send("agent", "x"));
        answer["error"] == "the agent is unavailable"
    });
    cluster.wait_nth("agent-ready", 3);
    wait::expect("the new agent", || {
        mail_on(&mut connection, &ask("agent", "echo", "x"))["answer"] == "x"
    });
}

/// Who stands still costs the sender a `Full`, the master a bounded memory, and nobody else anything.
#[test]
fn a_stopped_receiver_fills_its_own_queue_only() {
    let cluster = playground!().workers(3).start();
    let before = process::resident_bytes(cluster.master());
    let stopped = cluster.worker(2);
    kill(stopped, Signal::STOP);
    let (mut connection, _) = cluster.connect_to(0);
    let flood = json!({ "do": "flood", "to": "slot:2", "size": 1000, "for_ms": 500 });
    let answer = mail_on(&mut connection, &flood);
    let accepted = answer["accepted"].as_u64().unwrap();
    assert!(answer["full"].as_u64().unwrap() > 0, "{answer}");
    assert!((900..1100).contains(&accepted), "{answer}");
    // To many, the others still get theirs.
    let answer = mail_on(&mut connection, &send("workers", "still"));
    assert_eq!(
        (&answer["accepted"], &answer["full"]),
        (&json!(2), &json!(1))
    );
    wait::expect("the note", || noted(&cluster, 1, "worker 0") == ["still"]);
    let grown = process::resident_bytes(cluster.master()).saturating_sub(before);
    assert!(grown < 8 << 20, "the master grew by {grown} bytes");
    kill(stopped, Signal::CONT);
    wait::expect("room again", || {
        mail_on(&mut connection, &send("slot:2", "back"))["accepted"] == 1
    });
    wait::expect("the note", || noted(&cluster, 2, "worker 0") == ["back"]);
}

/// Messages that nobody takes fill the queue, and answers still get through.
#[test]
fn a_subscriber_that_does_not_take_its_messages_does_not_block_answers() {
    let cluster = playground!().workers(2).start();
    mail(&cluster, 1, &json!({ "do": "deafen" }));
    let flood = json!({ "do": "send", "to": "slot:1", "topic": "deaf", "text": "x".repeat(1000), "count": 5000 });
    let answer = mail(&cluster, 0, &flood);
    assert!(error(&answer).contains("the queue for worker 1 is full"));
    let answer = mail(&cluster, 1, &ask("slot:0", "echo", "through"));
    assert_eq!(answer["answer"], "through");
}

/// Everybody hears of a new process before its first message, and of its end after its last.
#[test]
fn comings_and_goings_are_told() {
    let cluster = playground!().workers(2).start();
    let old = cluster.worker(1);
    kill(old, Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    let new = cluster.worker(1);
    let wanted = [
        json!(["joined", "worker 1", old]),
        json!(["left", "worker 1", old]),
        json!(["joined", "worker 1", new]),
    ];
    wait::expect("the news", || {
        let events = mail(&cluster, 0, &json!({ "do": "peers" }));
        let events = events.as_array().unwrap().iter();
        let about: Vec<_> = events.filter(|event| event[1] == "worker 1").collect();
        about == wanted.iter().collect::<Vec<_>>()
    });
}

/// In a reload no request is lost in silence: the old one of a slot answers, then the new one. Who asks in the moment in
/// which the old one leaves, before it has heard of the new one, is told so, and may ask again.
#[test]
fn a_reload_loses_no_request_in_silence() {
    let cluster = playground!().workers(2).start();
    let mark = cluster.mark();
    let mut reload = cluster.spawn_verb(&["reload"], &cluster.plan().path("reload.txt"));
    while reload.try_wait().unwrap().is_none() {
        for to in ["agent", "slot:0", "slot:1"] {
            let mut answer = mail_on(&mut cluster.connect(), &ask(to, "echo", "x"));
            let told = answer["error"].as_str().unwrap_or_default();
            if to != "agent" && told.ends_with("left without an answer") {
                answer = mail_on(&mut cluster.connect(), &ask(to, "echo", "x"));
            }
            assert_eq!(answer["answer"], "x", "{to}: {answer}");
        }
    }
    assert!(reload.wait().unwrap().success());
    cluster.wait_since(mark, "reload-finished");
    assert_eq!(
        mail(&cluster, 0, &ask("slot:1", "echo", "x"))["answer"],
        "x"
    );
}

/// A flood between two processes delays neither the master nor the messages of others.
#[test]
fn a_flood_is_nobody_elses_business() {
    let cluster = playground!().workers(3).start();
    let (mut flooder, _) = cluster.connect_to(0);
    // Longer than a busy machine may be late.
    let flood = json!({ "do": "flood", "to": "slot:1", "size": 100, "for_ms": 8000 });
    post(&mut flooder, &flood);
    let begun = Instant::now();
    let (mut connection, _) = cluster.connect_to(2);
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        let answer = mail_on(&mut connection, &ask("agent", "echo", "x"));
        assert_eq!(answer["answer"], "x");
        let took = asked.elapsed();
        assert!(took < wait::LATE, "an answer took {took:?}");
        assert_eq!(cluster.status()["state"], "ready");
    }
    let answer: Value = serde_json::from_slice(&flooder.receive().unwrap().body).unwrap();
    assert!(answer["accepted"].as_u64().unwrap() > 1000, "{answer}");
    assert!(cluster.events().iter().all(|event| event.event != "hung"));
}

/// Workers that leave can still ask the agent, who leaves last.
#[test]
fn who_leaves_may_ask_to_the_end() {
    let plan = playground!().workers(2);
    let book = plan.path("book");
    let cluster = plan
        .env("PLAYGROUND_BOOK", &book)
        .env("PLAYGROUND_LAST_WORDS", "1")
        .start();
    cluster.stop();
    let mut lines: Vec<String> = std::fs::read_to_string(book)
        .unwrap()
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["last words of worker 0", "last words of worker 1"]);
}

#[test]
fn a_process_that_speaks_nonsense_is_named_and_replaced() {
    let cluster = playground!().workers(2).start();
    let (worker, other) = (cluster.worker(1), cluster.worker(0));
    let post = link::post_of_worker(worker).unwrap();
    net::send(&post, b"nonsense", SendFlags::NOSIGNAL).unwrap();
    let exited = cluster.wait(step("worker-exited").pid(worker));
    let why = exited.why();
    assert!(why.contains("its messages cannot be understood"), "{why}");
    cluster.wait(step("worker-replaced").slot(1));
    assert_eq!(cluster.worker(0), other);
    cluster.stop();
}
