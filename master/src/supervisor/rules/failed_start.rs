//! Before egg-ready, the first failure ends everything: in order, with code 3, saying who and why.

use hatchery_protocol::exit::ExitKind;

use super::bench::{AGENT_START, Bench, KILL_AFTER, MARGIN, WORKER_START};
use crate::supervisor::Status;

/// The reason of the stop that has begun.
#[track_caller]
fn reason(bench: &mut Bench) -> String {
    let notes = bench.notes();
    let mut reasons = notes.iter().filter_map(|n| n.strip_prefix("stopping: "));
    let reason = reasons.next().expect("a stop").to_owned();
    assert_eq!(reasons.next(), None, "one stop, one reason");
    reason
}

/// Something that goes wrong with the process named first; ends when that process is gone.
type Failure = fn(&mut Bench, &str) -> super::bench::Done;

/// Each failure of a process in its `start`, and how it is named.
const WHILE_BOOTING: [(Failure, &str); 6] = [
    (|b, who| b.exits(who, 1), "exited with code 1"),
    (|b, who| b.exits(who, 0), "exited with code 0"),
    (
        |b, who| b.dies(who, Status::Signal(11), &[]),
        "killed by signal 11 (SIGSEGV)",
    ),
    (
        |b, who| b.dies(who, Status::Code(101), &["panicked at main.rs", "no file"]),
        "exited with code 101; the last it wrote:\n    panicked at main.rs\n    no file",
    ),
    (
        |b, who| {
            b.hook_fails(who).does_nothing();
            b.exits(who, 1)
        },
        "a hook failed: no database; exited with code 1",
    ),
    (
        |b, who| {
            b.link_breaks(who).does(&[&format!("kill {who}")]);
            b.is_killed(who)
        },
        "it wrote nonsense; killed by signal 9 (SIGKILL)",
    ),
];

/// Each failure of a process that was ready, while others are not, and how it is named.
const WHILE_READY: [(Failure, &str); 4] = [
    (|b, who| b.exits(who, 0), "exited with code 0"),
    (
        |b, who| {
            b.hook_fails(who).whatever();
            b.exits(who, 1)
        },
        "a hook failed: no database; exited with code 1",
    ),
    (
        |b, who| {
            b.link_breaks(who).whatever();
            b.is_killed(who)
        },
        "it wrote nonsense; killed by signal 9 (SIGKILL)",
    ),
    (
        |b, who| {
            b.ready(who).whatever();
            b.is_killed(who)
        },
        "it said `ready` twice; killed by signal 9 (SIGKILL)",
    ),
];

#[test]
fn an_agent_that_fails_in_start_ends_it_before_there_are_workers() {
    for (fail, cause) in WHILE_BOOTING {
        let mut bench = Bench::new(2);
        bench.started().whatever();
        bench.spawned("agent").whatever();
        fail(&mut bench, "agent").does(&["close listeners", "exit 3"]);
        assert_eq!(
            reason(&mut bench),
            format!("agent failed to start: {cause}")
        );
    }
}

#[test]
fn a_worker_that_fails_in_start_ends_all_in_order() {
    for (fail, cause) in WHILE_BOOTING {
        let mut bench = Bench::booting(3);
        bench.ready("w0").whatever();
        fail(&mut bench, "w1").does(&["close listeners", "drain w0 30s", "drain w2 30s"]);
        let expected = format!("worker 1 failed to start: {cause}");
        assert_eq!(reason(&mut bench), expected);
        bench.exits("w2", 0).does_nothing();
        bench.exits("w0", 0).does(&["drain agent 30s"]);
        bench.exits("agent", 0).does(&["exit 3"]);
    }
}

#[test]
fn an_agent_that_fails_after_it_was_ready_ends_all_in_order() {
    for (fail, cause) in WHILE_READY {
        let mut bench = Bench::booting(1);
        fail(&mut bench, "agent").does(&["close listeners", "drain w0 30s"]);
        assert_eq!(
            reason(&mut bench),
            format!("agent failed to start: {cause}")
        );
        bench.exits("w0", 0).does(&["exit 3"]);
    }
}

#[test]
fn a_worker_that_fails_after_it_was_ready_ends_all_in_order() {
    for (fail, cause) in WHILE_READY {
        let mut bench = Bench::booting(2);
        bench.ready("w0").whatever();
        fail(&mut bench, "w0").does(&["close listeners", "drain w1 30s"]);
        let expected = format!("worker 0 failed to start: {cause}");
        assert_eq!(reason(&mut bench), expected);
        bench.exits("w1", 0).does(&["drain agent 30s"]);
        bench.exits("agent", 0).does(&["exit 3"]);
    }
}

/// The answer of `listen` and a failure may cross.
#[test]
fn a_failure_between_listen_and_its_answer_is_still_before_egg_ready() {
    for (fail, cause) in WHILE_READY {
        let mut bench = Bench::ready_to_listen(2);
        fail(&mut bench, "w1").does(&["close listeners", "drain w0 30s"]);
        bench.listening().does_nothing();
        let expected = format!("worker 1 failed to start: {cause}");
        assert_eq!(reason(&mut bench), expected);
        assert!(bench.is_stopping());
    }
}

#[test]
fn listening_does_not_make_a_cluster_ready_whose_worker_is_failing() {
    let mut bench = Bench::ready_to_listen(2);
    bench.hook_fails("w1").does(&["tell agent: slot 1 down"]);
    bench.listening().does_nothing();
    bench
        .exits("w1", 1)
        .does(&["close listeners", "drain w0 30s"]);
    let notes = bench.notes();
    assert!(!notes.contains(&"egg-ready".to_owned()), "{notes:?}");
}

#[test]
fn addresses_do_not_listen_while_the_agent_is_failing() {
    let mut bench = Bench::booting(1);
    bench.hook_fails("agent").does(&["tell w0: no agent"]);
    bench.ready("w0").does_nothing();
    bench
        .exits("agent", 1)
        .does(&["close listeners", "drain w0 30s"]);
}

#[test]
fn a_process_that_cannot_be_created_is_a_failed_start() {
    let mut bench = Bench::new(1);
    bench.started().whatever();
    let all = ["close listeners", "exit 3"];
    bench.spawn_fails("agent").does(&all);
    let cause = "failed to start: its process could not be created: out of memory";
    assert_eq!(reason(&mut bench), format!("agent {cause}"));

    let mut bench = Bench::new(2);
    bench.started().whatever();
    bench.becomes_ready("agent").whatever();
    bench.spawned("w0").whatever();
    let all = ["close listeners", "drain w0 30s"];
    bench.spawn_fails("w1").does(&all);
    assert_eq!(reason(&mut bench), format!("worker 1 {cause}"));
}

#[test]
fn a_start_that_takes_too_long_is_killed() {
    let mut bench = Bench::new(1);
    bench.started().whatever();
    bench.spawned("agent").whatever();
    bench.says_hello("agent").does_nothing();
    bench.due_after(AGENT_START + MARGIN).does(&["kill agent"]);
    bench
        .is_killed("agent")
        .does(&["close listeners", "exit 3"]);
    assert_eq!(
        reason(&mut bench),
        "agent failed to start: Agent::start did not finish within its start timeout and was killed; \
         killed by signal 9 (SIGKILL)"
    );

    let mut bench = Bench::booting(2);
    bench.ready("w0").whatever();
    bench.says_hello("w1").does_nothing();
    bench.due_after(WORKER_START + MARGIN).does(&["kill w1"]);
    bench
        .is_killed("w1")
        .does(&["close listeners", "drain w0 30s"]);
    assert_eq!(
        reason(&mut bench),
        "worker 1 failed to start: Worker::start did not finish within its start timeout and was \
         killed; killed by signal 9 (SIGKILL)"
    );
}

/// Its author's `start` is not to blame for a process that never came to it.
#[test]
fn who_never_said_a_word_is_not_said_to_have_begun_its_start() {
    let advice = "within its start timeout and was killed: look at the disk that it is loaded from, and at what \
                  `main` does before `App::run`; killed by signal 9 (SIGKILL)";
    let mut bench = Bench::new(1);
    bench.started().whatever();
    bench.spawned("agent").whatever();
    bench.due_after(AGENT_START + MARGIN).does(&["kill agent"]);
    bench.is_killed("agent").whatever();
    let expected = format!("agent failed to start: it did not get as far as Agent::start {advice}");
    assert_eq!(reason(&mut bench), expected);
    assert_eq!(bench.exit_kinds(), [ExitKind::StartTimeout]);

    // What its peers have said is not its own word; nor is what the one before it in its seat said.
    let mut bench = Bench::serving(2);
    bench.says_hello("w1").does_nothing();
    bench.exits("w1", 1).whatever();
    bench.spawned("w1.2").whatever();
    bench.says_hello("w0").does_nothing();
    bench.due_after(WORKER_START + MARGIN).does(&["kill w1.2"]);
    bench.notes();
    bench.is_killed("w1.2").whatever();
    assert_eq!(
        bench.notes(),
        [format!(
            "worker-exited worker 1: it did not get as far as Worker::start {advice}"
        )]
    );
}

/// A word that was said before it was known to exist counts: news of two tasks may overtake each other.
#[test]
fn a_hello_is_kept_whenever_it_comes() {
    let mut bench = Bench::new(1);
    bench.started().whatever();
    bench.says_hello("agent").does_nothing();
    bench.spawned("agent").whatever();
    bench.says_hello("agent").does_nothing();
    bench.due_after(AGENT_START + MARGIN).does(&["kill agent"]);
    bench.is_killed("agent").whatever();
    assert!(reason(&mut bench).contains("Agent::start did not finish"));
}

#[test]
fn a_child_whose_start_failed_and_that_does_not_leave_is_killed() {
    let mut bench = Bench::booting(1);
    bench.hook_fails("w0").does_nothing();
    bench.due_after(KILL_AFTER).does(&["kill w0"]);
    let all = ["close listeners", "drain agent 30s"];
    bench.is_killed("w0").does(&all);
    assert_eq!(
        reason(&mut bench),
        "worker 0 failed to start: a hook failed: no database; killed by signal 9 (SIGKILL)"
    );
}

/// What it said first counts: a process whose `start` failed is not ready, whatever it says next.
#[test]
fn a_child_whose_start_failed_is_never_ready() {
    let mut bench = Bench::booting(1);
    bench.hook_fails("w0").does_nothing();
    bench.ready("w0").does_nothing();
    bench.due_after(KILL_AFTER).does(&["kill w0"]);
}

#[test]
fn an_address_that_cannot_listen_ends_all_in_order_with_code_5() {
    let mut bench = Bench::ready_to_listen(2);
    let all = ["close listeners", "drain w0 30s", "drain w1 30s"];
    bench.listen_fails().does(&all);
    assert_eq!(reason(&mut bench), "127.0.0.1:7001: address in use");
    bench.exits("w0", 0).does_nothing();
    bench.exits("w1", 0).does(&["drain agent 30s"]);
    bench.exits("agent", 0).does(&["exit 5"]);
}

#[test]
fn the_first_failure_names_the_stop() {
    let mut bench = Bench::booting(2);
    bench.exits("w0", 1).whatever();
    bench.exits("w1", 2).does(&["drain agent 30s"]);
    bench.stop().does_nothing();
    bench.exits("agent", 0).does(&["exit 3"]);
    let expected = "worker 0 failed to start: exited with code 1";
    assert_eq!(reason(&mut bench), expected);
}
