//! A worker that breaks the rules of its lane is named and replaced, and nobody else notices.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::IoSlice;
use std::os::fd::{AsFd as _, OwnedFd};

use hatchery_protocol::handoff::{Receipt, send_receipt};
use hatchery_tests::event::count;
use hatchery_tests::process::{self, kill};
use hatchery_tests::{Crowd, link, playground, step};
use rustix::io::ioctl_fionread;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, send, sendmsg, shutdown,
};
use rustix::process::Signal;

/// Does something to the lane of the worker in slot 1, in its voice, that its master cannot bear.
fn ends_the_worker(misdeed: impl FnOnce(&OwnedFd), why: &str) {
    let cluster = playground!().start();
    let mut before = Crowd::gather(&cluster, 20);
    before.answers();
    let everybody = cluster.everybody();
    let (master, worker) = (cluster.master(), cluster.worker(1));
    let lane = link::lane_of_worker(worker).unwrap();
    let descriptors = process::descriptors(master);
    misdeed(&lane);
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert!(exited.why().contains(why), "{exited:?}");
    assert!(
        exited.why().contains("signal 9"),
        "and what was done about it: {exited:?}"
    );
    cluster.wait(step("worker-replaced").slot(1));
    drop(lane);
    assert_eq!(
        cluster.everybody().get(..2),
        everybody.get(..2),
        "nobody else"
    );
    Crowd::gather(&cluster, 20).answers();
    cluster.connect_to(1);
    assert_eq!(count(&cluster.events(), "worker-exited"), 1);
    cluster.expect("nothing is left of it", || {
        process::descriptors(master) <= descriptors
    });
    cluster.stop();
}

const RECEIPT: Receipt = Receipt {
    number: 0,
    taken: 0,
    open: 0,
    leaving: false,
};

#[test]
fn a_packet_that_is_no_receipt() {
    let nonsense = |lane: &OwnedFd| {
        send(lane, b"nonsense", SendFlags::NOSIGNAL).unwrap();
    };
    ends_the_worker(nonsense, "not a receipt");
}

#[test]
fn a_packet_that_is_too_long() {
    let long = |lane: &OwnedFd| {
        send(lane, &vec![0; 64 * 1024], SendFlags::NOSIGNAL).unwrap();
    };
    ends_the_worker(long, "not a receipt");
}

#[test]
fn a_packet_of_nothing() {
    let nothing = |lane: &OwnedFd| {
        send(lane, &[], SendFlags::NOSIGNAL).unwrap();
    };
    ends_the_worker(nothing, "its lane failed");
}

#[test]
fn a_receipt_for_what_was_never_sent() {
    let number = u64::MAX;
    let receipt = Receipt { number, ..RECEIPT };
    ends_the_worker(
        |lane| send_receipt(lane, &receipt).unwrap(),
        "confirmed connections that it was never given",
    );
}

#[test]
fn a_lane_that_is_shut_down() {
    ends_the_worker(
        |lane| shutdown(lane, Shutdown::Both).unwrap(),
        "its lane failed",
    );
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let cluster = playground!().start();
    cluster.get("/");
    let master = cluster.master();
    let lane = link::lane_of_worker(cluster.worker(1)).unwrap();
    let before = process::descriptors(master);
    // A receipt as the worker itself would send it, with something attached.
    let mut bytes = RECEIPT.number.to_le_bytes().to_vec();
    bytes.extend([0; 7]);
    for _ in 0..10 {
        let fds = [lane.as_fd(); 20];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let sent = sendmsg(
            &lane,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
        assert_eq!(sent, Ok(bytes.len()));
    }
    Crowd::gather(&cluster, 20).answers();
    cluster.expect("they are closed", || process::descriptors(master) <= before);
    cluster.stop().expect_no("worker-replaced");
}

/// A worker that takes its connections away from itself: they are its own to lose, and nobody else's.
#[test]
fn a_lane_that_somebody_else_reads() {
    let cluster = playground!().workers(1).start();
    cluster.get("/");
    let worker = cluster.worker(0);
    let lane = link::lane_of_worker(worker).unwrap();
    kill(worker, Signal::STOP);
    let mut crowd = Crowd::gather(&cluster, 50);
    cluster.expect("something is on the lane", || {
        hatchery_protocol::handoff::take_back(&lane).is_ok()
    });
    kill(worker, Signal::KILL);
    drop(lane);
    let served = crowd.answers();
    assert!(served.iter().all(|who| who.pid != worker));
    drop(crowd);
    cluster.expect_orderly_end();
}

/// A worker that cannot send a receipt answers nobody: the master would give its clients to another one, too.
#[test]
fn nobody_is_answered_before_the_receipt() {
    let cluster = playground!().workers(1).start();
    cluster.get("/");
    let (master, worker) = (cluster.master(), cluster.worker(0));
    let lane = link::lane_of_worker(worker).unwrap();
    kill(worker, Signal::STOP);
    let mut crowd = Crowd::gather(&cluster, 20);
    let waiting = || ioctl_fionread(&lane).unwrap() > 0;
    cluster.expect("some of them are on the lane", waiting);
    kill(master, Signal::STOP);
    // From here on nobody takes receipts off the lane, and there is no room for any more.
    while send_receipt(&lane, &RECEIPT).is_ok() {}
    kill(worker, Signal::CONT);
    cluster.expect("the worker has them", || !waiting());
    process::expect_idle(&[worker]);
    kill(worker, Signal::KILL);
    process::expect_dead(worker);
    kill(master, Signal::CONT);
    let served = crowd.answers();
    assert!(served.iter().all(|who| who.pid != worker), "{served:?}");
    cluster.expect_orderly_end();
}
