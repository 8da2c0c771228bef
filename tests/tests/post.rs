//! What comes over a worker's post and should not: who breaks its rules is named and replaced, what is lost on the way is said
//! to be lost, and nobody else notices.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use hatchery_protocol::post::{
    Body, Frame, Head, Kind, MAX_INLINE, MAX_PACKET, sealed, send_packet,
};
use hatchery_tests::event::count;
use hatchery_tests::mail::{ask, error, mail, mail_on, send};
use hatchery_tests::process::{self, kill, limit_descriptors};
use hatchery_tests::{Cluster, link, playground, step, wait};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a frame announces in a memory file.
const SIZE: u32 = 50_000;

fn frame(kind: Kind, peer: u64, topic: &str, body: Body<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    let head = Head {
        kind,
        flags: 0,
        peer,
        // No question of the worker's own has such a number.
        id: 77_777,
    };
    let topic = topic.as_bytes();
    Frame { head, topic, body }.write(&mut packet);
    packet
}

fn incarnation(cluster: &Cluster, slot: u32) -> u64 {
    cluster.connect_to(slot).1.incarnation
}

/// What the worker in slot 0 has heard of the one in slot 1.
fn heard(cluster: &Cluster) -> Vec<Value> {
    let events = mail(cluster, 0, &json!({ "do": "peers" }));
    let events = events.as_array().unwrap().iter();
    let about = events.filter(|event| event[1] == "worker 1");
    about.cloned().collect()
}

/// Sends something in the voice of the worker in slot 1 that its master cannot bear.
fn ends_the_worker(packet: &[u8], files: &[BorrowedFd<'_>], why: &str) {
    let cluster = playground!().workers(2).start();
    let (master, worker, other) = (cluster.master(), cluster.worker(1), cluster.worker(0));
    let before = process::descriptors(master);
    let post = link::post_of_worker(worker).unwrap();
    send_packet(&post, packet, files).unwrap();
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert!(exited.why().contains(why), "{exited:?}");
    assert!(exited.why().contains("signal 9"), "{exited:?}");
    cluster.wait(step("worker-replaced").slot(1));
    drop(post);
    let new = cluster.worker(1);
    let wanted = [
        json!(["joined", "worker 1", worker]),
        json!(["left", "worker 1", worker]),
        json!(["joined", "worker 1", new]),
    ];
    wait::expect("others hear of it once", || heard(&cluster) == wanted);
    let answer = mail(&cluster, 0, &ask("slot:1", "echo", "x"));
    assert_eq!(answer["answer"], "x");
    assert_eq!(cluster.worker(0), other);
    assert_eq!(count(&cluster.events(), "worker-exited"), 1);
    cluster.expect("nothing is left of it", || {
        process::descriptors(master) <= before
    });
    cluster.stop();
}

/// It reads as the end of the post does; the worker lives, and others must not be told that it has left.
#[test]
fn a_packet_of_nothing() {
    ends_the_worker(b"", &[], "a packet of messages is empty");
}

#[test]
fn a_packet_that_is_too_long() {
    ends_the_worker(
        &vec![0; MAX_PACKET + 1],
        &[],
        "a packet of messages is too long",
    );
}

#[test]
fn a_packet_that_ends_inside_a_frame() {
    let mut packet = frame(Kind::Message, u64::MAX, "note", Body::Inline(b"payload"));
    packet.truncate(packet.len() - 1);
    ends_the_worker(&packet, &[], "a packet ends inside a frame");
}

#[test]
fn news_that_only_the_master_may_tell() {
    let packet = frame(Kind::Left, 1, "", Body::Inline(b""));
    ends_the_worker(&packet, &[], "a frame of kind 18 is not understood");
}

#[test]
fn a_payload_that_is_larger_than_what_was_configured() {
    let packet = frame(Kind::Message, u64::MAX, "note", Body::Large((1 << 20) + 1));
    let file = sealed(b"").unwrap();
    let why = "a payload of 1048577 bytes exceeds what was configured";
    ends_the_worker(&packet, &[file.as_fd()], why);
}

#[test]
fn a_small_payload_in_a_memory_file() {
    let packet = frame(Kind::Message, u64::MAX, "note", Body::Large(10));
    let file = sealed(&[0; 10]).unwrap();
    ends_the_worker(
        &packet,
        &[file.as_fd()],
        "a payload of 10 bytes is in a memory file",
    );
}

/// As many as the kernel takes, of which no process keeps one.
#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let cluster = playground!().workers(2).start();
    let (master, receiver) = (cluster.master(), cluster.worker(0));
    let to = incarnation(&cluster, 0);
    let post = link::post_of_worker(cluster.worker(1)).unwrap();
    let before = process::descriptors(master);
    let held = process::descriptors(receiver);
    for round in 0..10 {
        let text = format!("{round:?}");
        let text = json!(text).to_string();
        let packet = frame(Kind::Message, to, "note", Body::Inline(text.as_bytes()));
        let fds = [post.as_fd(); 20];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let packet = [IoSlice::new(&packet)];
        sendmsg(&post, &packet, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    }
    let wanted: Vec<String> = (0..10).map(|round| round.to_string()).collect();
    wait::expect("the messages themselves", || {
        hatchery_tests::mail::noted(&cluster, 0, "worker 1") == wanted
    });
    cluster.expect("they are closed", || {
        process::descriptors(master) <= before && process::descriptors(receiver) <= held
    });
    cluster.stop().expect_no("worker-replaced");
}

/// The master does not look into files, so whoever gets them does.
#[test]
fn files_that_are_no_payload_are_lost_and_nothing_else() {
    let cluster = playground!().workers(2).start();
    let to = incarnation(&cluster, 0);
    let post = link::post_of_worker(cluster.worker(1)).unwrap();
    let unsealed = memfd_create(c"test", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&unsealed, u64::from(SIZE)).unwrap();
    let (pipe, _) = io::pipe().unwrap();
    let cases: [(OwnedFd, &str); 3] = [
        (unsealed, "a large payload is in a file that is not sealed"),
        (
            pipe.into(),
            "a large payload is in a file that is not sealed",
        ),
        (
            sealed(&vec![0; 40_000]).unwrap(),
            "a large payload has 40000 bytes, and 50000 were announced",
        ),
    ];
    let said = |why: &str| cluster.stderr().matches(why).count();
    for (file, why) in cases {
        for kind in [Kind::Message, Kind::Request] {
            let before = said(why);
            let packet = frame(kind, to, "bulk", Body::Large(SIZE));
            send_packet(&post, &packet, &[file.as_fd()]).unwrap();
            wait::expect("it is told", || said(why) > before);
        }
    }
    // Without a file at all the master says so, to nobody's harm.
    let packet = frame(Kind::Request, to, "bulk", Body::Large(SIZE));
    send_packet(&post, &packet, &[]).unwrap();
    let text = "x".repeat(100_000);
    for (from, to) in [(1, "slot:0"), (0, "slot:1")] {
        let answer = mail(&cluster, from, &ask(to, "echo", &text));
        assert_eq!(answer["answer"], text);
    }
    let bulk = mail(&cluster, 0, &json!({ "do": "noted" }));
    assert_eq!(bulk, json!([]), "none of it was taken for a message");
    cluster.stop().expect_no("worker-replaced");
}

/// A descriptor below this number is not to be had.
fn lowest_free(pid: u32) -> usize {
    let is_free = |number: &usize| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    (0..1 << 16).find(is_free).unwrap()
}

/// It cannot send or receive large payloads; each time whoever waits hears why, and small ones get through.
#[test]
fn a_process_without_descriptors_says_what_it_cannot_send_and_receive() {
    let cluster = playground!().workers(2).start();
    let (mut here, _) = cluster.connect_to(0);
    let (mut poor, _) = cluster.connect_to(1);
    let large = "x".repeat(2 * MAX_INLINE);
    assert_eq!(mail_on(&mut here, &send("slot:0", &large))["accepted"], 1);
    let noted = json!({ "do": "let", "on": "slot:0", "then": { "do": "noted" } });
    wait::expect("a large answer", || {
        mail_on(&mut poor, &noted).to_string().contains(&large)
    });
    let worker = cluster.worker(1);
    limit_descriptors(worker, lowest_free(worker));
    let failure = |connection: &mut _, command: &Value| {
        let answer = mail_on(connection, command);
        error(&answer).to_owned()
    };
    let sent = failure(&mut poor, &send("slot:0", &large));
    assert!(
        sent.contains("no memory file for a large payload"),
        "{sent}"
    );
    let asked = failure(&mut here, &ask("slot:1", "echo", &large));
    assert!(
        asked.contains("worker 1 (pid ") && asked.contains("did not answer"),
        "{asked}"
    );
    let answered = failure(&mut poor, &noted);
    let why = "the answer was lost: this process has no descriptors left";
    assert!(answered.contains(why), "{answered}");
    for (from, to) in [(&mut poor, "slot:0"), (&mut here, "slot:1")] {
        assert_eq!(mail_on(from, &ask(to, "echo", "small"))["answer"], "small");
    }
    limit_descriptors(worker, 1024);
    let answer = mail_on(&mut here, &ask("slot:1", "echo", &large));
    assert_eq!(answer["answer"], large);
    cluster.stop().expect_no("worker-replaced");
}

/// What one floods another with who does not read, without a window, and how much of it: far more than the master may keep.
const FLOOD: usize = 32 << 20;

#[test]
fn a_flood_that_keeps_to_no_window_costs_the_master_so_much_and_no_more() {
    let cluster = playground!().workers(3).start();
    let to = incarnation(&cluster, 2);
    let (master, stopped) = (cluster.master(), cluster.worker(2));
    let post = link::post_of_worker(cluster.worker(1)).unwrap();
    let (mut beside, _) = cluster.connect_to(0);
    let one = frame(Kind::Message, to, "flood", Body::Inline(&[0; 1000]));
    let packet = one.repeat(MAX_PACKET / one.len());
    let before = process::resident_bytes(master);
    kill(stopped, Signal::STOP);
    let mut sent = 0;
    wait::expect("all of the flood is sent", || {
        // As much as the master takes in between, and others' business meanwhile.
        for _ in 0..50 {
            match send_packet(&post, &packet, &[]) {
                Ok(()) => sent += packet.len(),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        let answer = mail_on(&mut beside, &ask("agent", "echo", "x"));
        assert_eq!(answer["answer"], "x");
        assert_eq!(cluster.status()["state"], "ready");
        sent > FLOOD
    });
    let grown = process::resident_bytes(master).saturating_sub(before);
    assert!(grown < 16 << 20, "the master grew by {grown} bytes");
    let named = "sends more than others take: the rest is dropped";
    let times = cluster.stderr().matches(named).count();
    assert_eq!(times, 1, "it is named, once: {}", cluster.stderr());
    kill(stopped, Signal::CONT);
    wait::expect("who was flooded goes on", || {
        mail_on(&mut beside, &ask("slot:2", "echo", "x"))["answer"] == "x"
    });
    cluster.stop().expect_no("worker-replaced");
}
