//! A child that breaks the rules of its link ends that child: it is named, replaced, and nobody else notices.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use hatchery_protocol::wire::{Kind, encode};
use hatchery_tests::event::count;
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, link, playground, process, step};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;

fn message(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(Kind::Message, 0, body, &mut bytes).unwrap();
    bytes
}

/// The worker in slot 1 says these bytes to the master.
fn worker_says(bytes: &[u8], why: &str) {
    let cluster = playground!().start();
    let before = cluster.everybody();
    let mut voice = link::of_child(before[2]).unwrap();
    voice.write_all(bytes).unwrap();
    let exited = cluster.wait(step("worker-exited").pid(before[2]));
    assert!(exited.why().contains(why), "{exited:?}");
    assert!(
        exited.why().contains("signal 9"),
        "and what was done about it: {exited:?}"
    );
    cluster.wait(step("worker-replaced").slot(1));
    assert_eq!(cluster.everybody()[..2], before[..2], "nobody else");
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(count(&cluster.events(), "egg-ready"), 1);
    drop(voice);
    cluster.stop();
}

macro_rules! rows {
    ($( $name:ident: $bytes:expr => $why:expr; )*) => {
        $(
            #[test]
            fn $name() {
                worker_says(&$bytes, $why);
            }
        )*
    };
}

rows! {
    a_worker_that_announces_a_gibibyte_is_killed:
        [0x40, 0, 0, 0, 1, 0] => "1073741824 bytes";
    a_worker_that_sends_an_unknown_kind_is_killed:
        [0, 0, 0, 0, 99, 0] => "unknown frame kind 99";
    a_worker_that_sends_a_control_frame_is_killed:
        [0, 0, 0, 2, 2, 0, b'{', b'}'] => "does not belong on a link";
    a_worker_that_announces_too_many_descriptors_is_killed:
        [0, 0, 0, 0, 1, 255] => "255 descriptors";
    a_worker_that_sends_no_json_is_killed:
        message(b"\xff\xff\xff") => "not a message";
    a_worker_that_sends_an_unknown_message_is_killed:
        message(br#"{"type":"explode"}"#) => "not a message";
    a_worker_that_speaks_with_the_masters_voice_is_killed:
        message(br#"{"type":"egg-ready"}"#) => "not a message";
    a_worker_that_says_ready_twice_is_killed:
        message(br#"{"type":"ready"}"#) => "`ready` twice";
    a_worker_that_speaks_another_version_is_killed:
        message(br#"{"type":"hello","version":4711}"#) => "protocol 4711";
}

#[test]
fn an_agent_that_breaks_the_rules_is_killed_and_replaced() {
    let cluster = playground!().start();
    let agent = cluster.agent();
    let mut voice = link::of_child(agent).unwrap();
    voice.write_all(&[0xff; 64]).unwrap();
    let exited = cluster.wait(step("agent-exited").pid(agent));
    assert!(exited.why().contains("exceeds the limit"), "{exited:?}");
    cluster.wait_nth("agent-ready", 2);
    assert_eq!(count(&cluster.events(), "worker-exited"), 0);
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

#[test]
fn a_child_that_breaks_the_rules_before_it_is_ready_ends_the_start() {
    let cluster = playground!().worker_start("hang").launch();
    let hooks = cluster.wait_hooks("start", 3);
    let worker = hooks.iter().find(|hook| hook.slot == Some(1)).unwrap().pid;
    let mut voice = link::of_child(worker).unwrap();
    voice.write_all(&[0xff; 64]).unwrap();
    let ended = cluster.expect_exit();
    ended
        .expect_code(3)
        .expect_stderr(&["worker 1", "exceeds the limit"]);
}

#[test]
fn a_child_that_says_it_is_ready_from_within_its_start_is_only_early() {
    // It is believed: nobody but the child can know. What it breaks by that is its own promise.
    let cluster = playground!().worker_start("slow:700").only_slot(1).launch();
    let hooks = cluster.wait_hooks("start", 3);
    let worker = hooks.iter().find(|hook| hook.slot == Some(1)).unwrap().pid;
    let mut voice = link::of_child(worker).unwrap();
    voice.write_all(&message(br#"{"type":"ready"}"#)).unwrap();
    cluster.wait("egg-ready");
    // Its own "ready" is the second one, and that is one too many.
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert!(exited.why().contains("`ready` twice"), "{exited:?}");
    cluster.wait(step("worker-replaced").slot(1));
    cluster.stop();
}

#[test]
fn a_child_that_dies_in_the_middle_of_a_message_is_replaced_like_any_other() {
    let cluster = playground!().start();
    let worker = cluster.worker(1);
    let mut voice = link::of_child(worker).unwrap();
    // A header, and half of what it announces.
    voice.write_all(&message(&[b' '; 100])[..50]).unwrap();
    drop(voice);
    process::kill(worker, Signal::KILL);
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert!(exited.why().contains("killed by signal 9"), "{exited:?}");
    cluster.wait(step("worker-replaced").slot(1));
    cluster.stop();
}

#[test]
fn a_child_that_hangs_up_and_lives_on_is_killed() {
    let cluster = playground!().start();
    let worker = cluster.worker(1);
    let voice = link::of_child(worker).unwrap();
    // Suspended, it cannot notice that its own link is closed.
    process::kill(worker, Signal::STOP);
    voice.shutdown(std::net::Shutdown::Both).unwrap();
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert!(
        exited.why().contains("closed its link and lived on"),
        "{exited:?}"
    );
    cluster.wait(step("worker-replaced").slot(1));
    cluster.stop();
}

/// Writes it all, however often the master is too busy to take more.
fn flood(voice: &mut UnixStream, bytes: &[u8]) {
    until(PATIENCE, || match voice.write(bytes) {
        Ok(written) => {
            assert_eq!(
                written,
                bytes.len(),
                "small frames are taken whole or not at all"
            );
            Some(())
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            None
        }
    })
    .unwrap();
}

fn beat() -> Vec<u8> {
    message(
        br#"{"type":"beat","runtime_age_ms":0,"lag_ms":0,"connections":0,"in_flight":0,"requests":0}"#,
    )
}

fn still_as_before(cluster: &Cluster, before: &[u32]) {
    assert_eq!(cluster.status()["state"], "ready");
    assert_eq!(cluster.everybody(), before);
}

#[test]
fn a_flood_of_messages_does_not_drown_the_master() {
    let cluster = playground!().start();
    let before = cluster.everybody();
    let mut voice = link::of_child(before[2]).unwrap();
    let beat = beat();
    for n in 0..20_000 {
        flood(&mut voice, &beat);
        if n % 5_000 == 0 {
            still_as_before(&cluster, &before);
        }
    }
    drop(voice);
    still_as_before(&cluster, &before);
    cluster.stop();
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let cluster = playground!().start();
    let master = cluster.master();
    let voice = link::of_child(cluster.worker(1)).unwrap();
    assert_eq!(cluster.status()["state"], "ready");
    let before = process::descriptors(master);
    let beat = beat();
    for round in 0..5 {
        let fds = [voice.as_fd(); 20];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let sent = sendmsg(
            &voice,
            &[IoSlice::new(&beat)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
        match sent {
            // The master may be done with this child by now.
            Err(Errno::PIPE | Errno::CONNRESET) if round > 0 => break,
            sent => assert_eq!(sent, Ok(beat.len())),
        }
    }
    drop(voice);
    cluster.expect("they are closed", || process::descriptors(master) <= before);
    // Whether the child that sent them may stay is the master's choice; that the cluster does is not.
    cluster.expect_status("it is ready", |status| {
        status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|worker| worker["state"] == "ready")
    });
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect_orderly_end();
}

#[test]
fn the_watch_thread_holds_nothing_open_that_its_process_has_closed() {
    let cluster = playground!().start();
    let (mut connection, whoami) = cluster.connect_to(0);
    let watch = || process::descriptors_of_thread(whoami.pid, "hatchery-watch").unwrap();
    let author = || process::descriptors_of_thread(whoami.pid, "playgroun:w0").unwrap();
    // The way of output through the master ends with readiness, in both.
    cluster.expect("both write where the master does", || {
        let master = process::descriptors_of_thread(cluster.master(), "playground").unwrap();
        [1, 2].map(|n| (watch()[&n].clone(), author()[&n].clone()))
            == [1, 2].map(|n| (master[&n].clone(), master[&n].clone()))
    });
    for (number, file) in watch() {
        assert_eq!(author().get(&number), Some(&file), "{number}");
    }
    let sockets = |table: BTreeMap<u32, PathBuf>| {
        let names = table.into_values().map(|file| file.display().to_string());
        names.filter(|name| name.starts_with("socket:")).count()
    };
    let held = "the link, to read and to write, and the way for new output to the other table";
    assert_eq!(sockets(watch()), 4, "{held}");
    assert!(sockets(author()) >= 6, "also a listener and a connection");
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    cluster.stop();
}

#[test]
fn the_watch_thread_handles_no_signal() {
    let cluster = playground!().start();
    for pid in [cluster.agent(), cluster.worker(0)] {
        assert_eq!(process::blocks_signals(pid, "hatchery-watch"), Some(true));
    }
    // What the author's threads handle is the author's.
    let author = process::blocks_signals(cluster.worker(0), "playgroun:w0");
    assert_eq!(author, Some(false));
    cluster.stop();
}
