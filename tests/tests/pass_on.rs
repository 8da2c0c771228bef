//! The example `pass-on`: an accepted connection goes to the worker that a rule of the application's chooses.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::fs;

use hatchery_tests::lines::{self, Lines};
use hatchery_tests::listeners::address;
use hatchery_tests::process::{expect_dead, kill};
use hatchery_tests::wait::PATIENCE;
use hatchery_tests::{Cluster, Plan, step, wait};
use rustix::process::Signal;

const WORKERS: u32 = 3;

fn plan() -> Plan {
    let plan = Plan::new(env!("CARGO_BIN_EXE_pass-on")).workers(WORKERS);
    let folder = plan.path("desks");
    plan.env("PASS_ON_DIR", folder).listen("127.0.0.1:0")
}

fn start() -> Cluster {
    plan().listen("127.0.0.1:0?name=rooms").start()
}

/// The rule of the example, once more.
fn home(cluster: &Cluster, room: &str) -> u32 {
    let sum: u32 = room.bytes().map(u32::from).sum();
    cluster.worker(sum % WORKERS)
}

/// A client, the process that welcomes it, and which visitor of the room it is.
#[track_caller]
fn enter(cluster: &Cluster, room: &str) -> (Lines, u32, u32) {
    try_to_enter(cluster, room).unwrap()
}

/// `None`: the room's worker is not known to be there.
fn try_to_enter(cluster: &Cluster, room: &str) -> Option<(Lines, u32, u32)> {
    let mut client = lines::connect(address(cluster, 1));
    client.send(room).unwrap();
    let welcome = client.receive()?;
    let (place, visitor) = welcome.split_once(": you are visitor ")?;
    let (its_room, process) = place.split_once(" of process ").unwrap();
    assert_eq!(its_room, format!("room {room}"));
    Some((client, process.parse().unwrap(), visitor.parse().unwrap()))
}

#[test]
fn all_visitors_of_a_room_are_in_one_process() {
    let cluster = start();
    let mut homes = BTreeSet::new();
    for room in ["tea", "coffee", "milk", "water", "juice"] {
        let visits: Vec<_> = (0..12).map(|_| enter(&cluster, room)).collect();
        let processes: BTreeSet<u32> = visits.iter().map(|visit| visit.1).collect();
        assert_eq!(processes, BTreeSet::from([home(&cluster, room)]), "{room}");
        // They share a variable, so nobody is counted twice or not at all.
        let numbers: Vec<u32> = visits.iter().map(|visit| visit.2).collect();
        let numbers: BTreeSet<u32> = numbers.into_iter().collect();
        assert_eq!(numbers, (1..=12).collect(), "{room}");
        homes.extend(processes);
    }
    assert!(homes.len() > 1, "rooms are with several workers: {homes:?}");
    assert_eq!(cluster.get("/"), "the rooms are at the other address\n");
    cluster.stop();
}

#[test]
fn what_comes_with_the_first_line_is_passed_on_too() {
    let cluster = start();
    // Whoever accepts them: in turn, one of three is with the right worker at once.
    for _ in 0..WORKERS {
        let mut client = lines::connect(address(&cluster, 1));
        client.send("tea\nfirst\nsecond\nthi").unwrap();
        assert!(client.receive().unwrap().starts_with("room tea of process"));
        assert_eq!(client.receive().unwrap(), "tea: first");
        assert_eq!(client.receive().unwrap(), "tea: second");
        assert_eq!(client.receive().unwrap(), "tea: thi");
        assert_eq!(client.ask("hello"), "tea: hello");
    }
    cluster.stop();
}

#[test]
fn the_connection_is_the_chosen_workers_whoever_else_dies() {
    let cluster = start();
    let home = home(&cluster, "tea");
    let mut clients: Vec<Lines> = (0..6).map(|_| enter(&cluster, "tea").0).collect();
    for slot in 0..WORKERS {
        let worker = cluster.worker(slot);
        if worker != home {
            kill(worker, Signal::KILL);
            expect_dead(worker);
        }
    }
    for client in &mut clients {
        assert_eq!(client.ask("still there"), "tea: still there");
    }
    kill(home, Signal::KILL);
    for client in &mut clients {
        assert_eq!(client.receive(), None, "it ends with its worker");
    }
    for slot in 0..WORKERS {
        cluster.wait(step("worker-replaced").slot(slot));
    }
    // The others hear of it a moment later.
    let entered = wait::until(PATIENCE, || try_to_enter(&cluster, "tea"));
    let (_client, process, visitor) = entered.unwrap();
    assert_ne!(process, home);
    assert_eq!(visitor, 1, "what a process knew ends with it");
    cluster.expect_orderly_end();
}

#[test]
fn those_who_were_passed_on_are_told_of_a_stop() {
    let cluster = start();
    let mut clients: Vec<Lines> = (0..6).map(|_| enter(&cluster, "tea").0).collect();
    cluster.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.receive().unwrap(), "goodbye, connect again");
        assert_eq!(client.receive(), None);
    }
    let ended = cluster.expect_exit();
    ended.expect_code(0);
    let left = fs::read_dir(ended.plan.path("desks")).unwrap().count();
    assert_eq!(left, 0, "no socket and no folder");
}

#[test]
fn who_says_too_much_or_nothing_costs_nobody_anything() {
    let cluster = start();
    let mut long = lines::connect(address(&cluster, 1));
    let _ = long.send(&"x".repeat(100_000));
    assert_eq!(long.receive(), None);
    drop(lines::connect(address(&cluster, 1)));
    let (mut client, ..) = enter(&cluster, "tea");
    assert_eq!(client.ask("hello"), "tea: hello");
    drop(client);
    cluster.stop();
}

#[test]
fn an_address_for_rooms_is_asked_for() {
    let ended = plan().run_to_end();
    ended.expect_code(3);
    ended.expect_stderr(&["no address is named `rooms`", "?name=rooms"]);
}
