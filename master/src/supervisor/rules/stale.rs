//! Events about the dead, events that come twice, events after the end: nothing happens.

use hatchery_protocol::id::Seat;

use super::bench::{Bench, Done};
use crate::supervisor::Status;

/// Everything that can be said about one process.
const NEWS_OF_ONE: [fn(&mut Bench, &str) -> Done; 7] = [
    Bench::spawned,
    Bench::spawn_fails,
    Bench::says_hello,
    Bench::ready,
    Bench::hook_fails,
    Bench::link_breaks,
    |b, who| b.dies(who, Status::Signal(9), &["out of time"]),
];

/// Everything that can be said about the whole.
const NEWS_OF_ALL: [fn(&mut Bench) -> Done; 6] = [
    Bench::started,
    Bench::listening,
    Bench::listen_fails,
    Bench::stop,
    Bench::stop_at_once,
    Bench::tick,
];

#[test]
fn the_dead_are_not_heard() {
    for say in NEWS_OF_ONE {
        let mut bench = Bench::serving(1);
        for dead in ["w0", "agent"] {
            bench.exits(dead, 1).whatever();
            bench.notes();
            say(&mut bench, dead).does_nothing();
            assert!(bench.notes().is_empty());
        }
        bench.becomes_ready("w0.2").whatever();
        bench.notes();
        say(&mut bench, "w0").does_nothing();
        assert!(bench.notes().is_empty());
    }
}

#[test]
fn strangers_are_not_heard() {
    for say in NEWS_OF_ONE {
        let mut bench = Bench::serving(1);
        bench.stranger("impostor", Seat::Worker(0));
        bench.stranger("outsider", Seat::Worker(99));
        bench.notes();
        say(&mut bench, "impostor").does_nothing();
        say(&mut bench, "outsider").does_nothing();
        assert!(bench.notes().is_empty());
    }
}

#[test]
fn the_dead_do_not_prolong_a_start_or_a_stop() {
    for say in NEWS_OF_ONE {
        let mut bench = Bench::booting(2);
        bench.exits("w0", 1).whatever();
        bench.notes();
        say(&mut bench, "w0").does_nothing();
        assert!(bench.notes().is_empty());
        bench.exits("w1", 0).does(&["drain agent 30s"]);
    }
}

#[test]
fn what_is_said_twice_counts_once() {
    let mut bench = Bench::new(1);
    bench.started().does(&["spawn agent"]);
    bench.started().does_nothing();
    bench.spawned("agent").does_nothing();
    let patience = bench.patience();
    bench.spawned("agent").does_nothing();
    assert_eq!(bench.patience(), patience);
    bench.ready("agent").whatever();
    bench.becomes_ready("w0").whatever();
    bench.listening().whatever();
    bench.listening().does_nothing();
    bench.spawned("w0").does_nothing();
    bench.hook_fails("w0").whatever();
    let patience = bench.patience();
    bench.hook_fails("w0").does_nothing();
    assert_eq!(bench.patience(), patience);
    bench.link_breaks("w0").does(&["kill w0"]);
    bench.link_breaks("w0").does_nothing();
    bench.is_killed("w0").does(&["spawn w0.2"]);
    bench.is_killed("w0").does_nothing();
    let notes = bench.notes();
    for line in &notes {
        assert_eq!(notes.iter().filter(|n| *n == line).count(), 1, "{line}");
    }
}

/// Whoever says so is mistaken: forgetting the process would leave two in one seat.
#[test]
fn a_process_that_exists_cannot_fail_to_be_created() {
    let mut bench = Bench::serving(1);
    bench.spawn_fails("w0").does_nothing();
    bench
        .exits("w0", 1)
        .does(&["spawn w0.2", "tell agent w0.2: slot 0 down"]);
    bench.spawned("w0.2").whatever();
    bench.spawn_fails("w0.2").does_nothing();
    bench
        .ready("w0.2")
        .does(&["tell agent w0.2: w0.2 up", "egg-ready w0.2"]);
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut bench = Bench::booting(1);
    bench.listening().does_nothing();
    bench.ready("w0").does(&["tell agent: w0 up", "listen"]);
    let mut bench = Bench::serving(1);
    bench.listen_fails().does_nothing();
    bench.started().does_nothing();
}

#[test]
fn nothing_happens_after_the_end() {
    let end = || {
        let mut bench = Bench::serving(1);
        bench.stop().whatever();
        bench.exits("w0", 0).whatever();
        bench.exits("agent", 0).does(&["exit 0"]);
        bench.notes();
        bench
    };
    for say in NEWS_OF_ALL {
        let mut bench = end();
        say(&mut bench).does_nothing();
        assert!(bench.notes().is_empty());
        assert_eq!(bench.patience(), None);
    }
    for say in NEWS_OF_ONE {
        let mut bench = end();
        say(&mut bench, "w0").does_nothing();
        say(&mut bench, "agent").does_nothing();
        assert!(bench.notes().is_empty());
    }
}
