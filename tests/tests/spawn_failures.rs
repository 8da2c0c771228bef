//! Processes that cannot be created: no more are allowed, no descriptors, no memory. And deaths for want of memory.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use hatchery_tests::command::run;
use hatchery_tests::control_group::ControlGroup;
use hatchery_tests::event::{count, position};
use hatchery_tests::injection::{CREATION, Injection};
use hatchery_tests::plan::NOBODY;
use hatchery_tests::process::{kill, limit_descriptors};
use hatchery_tests::{Cluster, playground, step};
use rustix::process::Signal;

/// Kills a worker that cannot be replaced, and lets it be replaced again; the others serve meanwhile.
#[track_caller]
fn heals(cluster: &Cluster, slot: u32, words: &[&str], mend: impl FnOnce()) {
    let mark = cluster.mark();
    let deaths = 1 + cluster
        .events()
        .iter()
        .filter(|event| step("worker-exited").slot(slot).fits(event))
        .count();
    kill(cluster.worker(slot), Signal::KILL);
    for nth in [1, 2] {
        let failed = cluster.wait_nth(step("worker-exited").slot(slot), deaths + nth);
        for word in words {
            assert!(failed.why().contains(word), "no {word} in {failed:?}");
        }
    }
    cluster.wait_since(mark, step("degraded").slot(slot));
    let (_, other) = cluster.connect_to(1 - slot);
    assert_eq!(other.pid, cluster.worker(1 - slot));
    mend();
    cluster.wait_since(mark, step("worker-replaced").slot(slot));
}

/// By its own user: to change another's limits takes a right that a container does not have.
fn limit_processes(pid: u32, count: &str) {
    let nobody = NOBODY.to_string();
    let mut prlimit = std::process::Command::new("setpriv");
    prlimit.args([
        "--reuid",
        &nobody,
        "--regid",
        &nobody,
        "--clear-groups",
        "prlimit",
    ]);
    prlimit.args(["--pid", &pid.to_string(), &format!("--nproc={count}:")]);
    let ran = run(prlimit);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_master_that_may_create_no_process_tries_again() {
    // The limit does not hold for root.
    let cluster = playground!().as_nobody().start();
    let master = cluster.master();
    limit_processes(master, "0");
    let words = ["could not be created", "RLIMIT_NPROC, or pids.max"];
    heals(&cluster, 1, &words, || limit_processes(master, "10000"));
    cluster.stop();
}

const NO_MORE: &str = "no more processes: RLIMIT_NPROC, or pids.max of the control group";
const NO_MEMORY: &str = "no memory for another process";

/// While no process can be created, nothing that was asked for happens, nobody who serves is touched, and all that died is
/// there again as soon as it can be.
#[track_caller]
fn nothing_new_and_then_everything(
    cluster: &Cluster,
    why: &str,
    deny: impl FnOnce(),
    allow: impl FnOnce(),
) {
    let before = cluster.worker_pids();
    deny();
    let denied = ["could not be created", why];
    cluster.expect_failed(&cluster.verb(&["reload"]), &denied);
    cluster.fail_upgrade(&["could not be started", why]);
    assert_eq!(cluster.worker_pids(), before);
    cluster.expect_failed(&cluster.verb(&["scale", "3"]), &denied);
    kill(cluster.agent(), Signal::KILL);
    let agent = step("agent-exited");
    let exited = cluster.wait_nth(agent.clone(), 2);
    for word in denied {
        assert!(exited.why().contains(word), "no {word} in {exited:?}");
    }
    for slot in 0..2 {
        assert_eq!(
            u64::from(cluster.connect_to(slot).1.pid),
            before[slot as usize]
        );
    }
    allow();
    cluster.expect_status("everybody is there", |status| {
        let workers = status["workers"].as_array().unwrap();
        let ready = workers.iter().all(|worker| worker["state"] == "ready");
        ready && workers.len() == 3 && status["agent"]["state"] == "ready"
    });
    let now = cluster.worker_pids();
    assert_eq!(now[..2], before, "they were never touched");
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    cluster.upgrade();
    cluster.expect("nobody is left over", || {
        cluster.survivors().list().len() == 5
    });
}

#[test]
fn orders_of_a_master_that_may_create_no_process_fail_and_harm_nobody() {
    let cluster = playground!().upgradable().as_nobody().start();
    let master = cluster.master();
    let limit = |count| move || limit_processes(master, count);
    nothing_new_and_then_everything(&cluster, NO_MORE, limit("0"), limit("10000"));
    cluster.stop();
}

/// The limit of a container. It is one for threads, too, and holds for workers.
#[test]
fn a_cluster_whose_control_group_is_full_serves_and_leaves_in_order() {
    let Some(group) = ControlGroup::limited("pids", ["pids.max"; 2], "max") else {
        eprintln!("this machine has no control group for processes; nothing was tested");
        return;
    };
    let limit = |count: &str| assert!(group.set("pids.max", count));
    let cluster = playground!()
        .upgradable()
        .inside(&group)
        .flag("--max-memory", "4GiB")
        .flag("--drain-timeout", "30s")
        .start();
    nothing_new_and_then_everything(&cluster, NO_MORE, || limit("1"), || limit("max"));
    limit("1");
    let (mut slow, who) = cluster.connect_to(1);
    // Longer than it takes until a beat tells of it, on a machine with other work to do.
    slow.ask("/sleep/10000").unwrap();
    // In the worker's hands: it answers another one that came later.
    cluster.expect("a request is under way", || {
        cluster.status()["workers"][1]["in_flight"] == 1
    });
    let mark = cluster.mark();
    kill(who.pid, Signal::TERM);
    assert_eq!(slow.receive().unwrap().status, 200);
    let exited = cluster.wait_since(mark, step("worker-exited").pid(who.pid));
    assert_eq!(exited.exit.as_deref(), Some("orderly"), "{exited:?}");
    limit("max");
    cluster.wait_since(mark, step("worker-replaced").slot(1));
    limit("1");
    cluster.stop();
}

/// Who stands still is found out and killed without a look at its threads.
#[test]
fn a_worker_that_hangs_in_a_full_control_group_is_killed_all_the_same() {
    let Some(group) = ControlGroup::limited("pids", ["pids.max"; 2], "max") else {
        eprintln!("this machine has no control group for processes; nothing was tested");
        return;
    };
    let limit = |count: &str| assert!(group.set("pids.max", count));
    let cluster = playground!()
        .inside(&group)
        .flag("--worker-timeout", "4s")
        .start();
    limit("1");
    let worker = cluster.worker(0);
    kill(worker, Signal::STOP);
    cluster.wait(step("hung").pid(worker));
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert_eq!(exited.exit.as_deref(), Some("hung"), "{exited:?}");
    assert!(exited.why().contains("no thread to look"), "{exited:?}");
    limit("max");
    cluster.wait(step("worker-replaced").slot(0));
    cluster.stop();
}

#[test]
fn orders_of_a_master_without_memory_for_a_process_fail_and_harm_nobody() {
    let cluster = playground!().upgradable().start();
    let master = cluster.master();
    let Some(denied) = Injection::begin(master, CREATION, "ENOMEM") else {
        return;
    };
    let denied = RefCell::new(Some(denied));
    let allow = || drop(denied.take());
    nothing_new_and_then_everything(&cluster, NO_MEMORY, || {}, allow);
    cluster.stop();
}

#[test]
fn a_master_without_memory_for_a_process_tries_again() {
    let cluster = playground!().start();
    let master = cluster.master();
    let Some(denied) = Injection::begin(master, CREATION, "ENOMEM") else {
        return;
    };
    let words = ["could not be created", NO_MEMORY];
    heals(&cluster, 1, &words, || drop(denied));
    cluster.stop();
}

/// It exists already, and the master has no memory left to follow it by: it must not live unwatched.
#[test]
fn a_process_that_cannot_be_watched_is_not_left_over() {
    let cluster = playground!().start();
    let master = cluster.master();
    let Some(denied) = Injection::begin(master, "pidfd_open", "ENOMEM") else {
        return;
    };
    let words = ["could not be created", NO_MEMORY];
    heals(&cluster, 1, &words, || drop(denied));
    cluster.expect("master, agent and two workers are all there is", || {
        cluster.survivors().list().len() == 4
    });
    cluster.stop();
}

/// Before egg-ready the first failure ends everything, this one, too.
#[test]
fn a_start_without_memory_for_a_worker_fails_and_says_so() {
    let plan = playground!().fragile();
    plan.hold_agent();
    let cluster = plan.launch();
    cluster.wait("agent-spawned");
    let denied = Injection::begin(cluster.master(), CREATION, "ENOMEM");
    cluster.plan().release_agent();
    let Some(denied) = denied else {
        cluster.wait("egg-ready");
        return;
    };
    let ended = cluster.expect_exit();
    ended
        .expect_code(3)
        .expect_stderr(&["worker 0 failed to start", NO_MEMORY])
        .expect_no("egg-ready");
    let agent = &ended.events[position(&ended.events, "agent-exited")];
    assert_eq!(agent.why(), "exited with code 0", "it left in order");
    drop(denied);
}

/// It is the new master that can create nothing: the old one serves on, and nothing of the new one is left.
#[test]
fn an_upgrade_to_a_master_without_memory_for_a_worker_changes_nothing() {
    let cluster = playground!().upgradable().start();
    let before = cluster.worker_pids();
    cluster.plan().hold_agent();
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    let new = cluster.wait_nth("master-started", 2).pid.unwrap();
    cluster.wait_nth("agent-spawned", 2);
    let denied = Injection::begin(new, CREATION, "ENOMEM");
    cluster.plan().release_agent();
    let ended = command.wait().unwrap();
    let Some(denied) = denied else {
        cluster.follow();
        return;
    };
    assert_eq!(ended.code(), Some(7));
    let said = fs::read_to_string(&output).unwrap();
    assert!(said.contains(NO_MEMORY), "{said}");
    drop(denied);
    assert_eq!(cluster.worker_pids(), before);
    // Written by a thread of its own: the command may be told first.
    cluster.wait("upgrade-failed");
    assert_eq!(count(&cluster.events(), "upgrade-failed"), 1);
    cluster.expect("nothing of the new master is left", || {
        cluster.survivors().list().len() == 4
    });
    cluster.upgrade();
    cluster.stop();
}

/// The first descriptor of the master's that has to do with a child.
fn first_of_a_child(master: u32) -> usize {
    let entries = fs::read_dir(format!("/proc/{master}/fd")).unwrap();
    entries
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|link| link == Path::new("anon_inode:[pidfd]"))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .min()
        .unwrap()
}

#[test]
fn a_master_without_descriptors_has_some_left_for_a_replacement() {
    let cluster = playground!().flag("--strategy", "shared").start();
    let master = cluster.master();
    // What the dead worker leaves is above the limit: only what was put by is left.
    limit_descriptors(master, first_of_a_child(master));
    kill(cluster.worker(1), Signal::KILL);
    let replaced = cluster.wait(step("worker-replaced").slot(1));
    let exited = cluster.wait(step("worker-exited").slot(1));
    assert!(exited.why().contains("signal 9"), "{exited:?}");
    // What it cannot do at all is told, and tried again.
    limit_descriptors(master, 5);
    let words = ["could not be created", "open files", "RLIMIT_NOFILE"];
    heals(&cluster, 0, &words, || limit_descriptors(master, 1024));
    assert_eq!(replaced.pid, Some(cluster.worker(1)));
    cluster.stop();
}

/// By signals: without a descriptor no command can connect.
#[test]
fn orders_of_a_master_without_descriptors_fail_and_harm_nobody() {
    let cluster = playground!().upgradable().start();
    let before = cluster.worker_pids();
    let master = cluster.master();
    limit_descriptors(master, 5);
    for (signal, outcome) in [
        (Signal::HUP, "reload-failed"),
        (Signal::USR2, "upgrade-failed"),
    ] {
        cluster.signal(signal);
        let failed = cluster.wait(outcome);
        assert!(failed.why().contains("open files"), "{failed:?}");
    }
    limit_descriptors(master, 1024);
    assert_eq!(cluster.worker_pids(), before, "they were never touched");
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    cluster.upgrade();
    cluster.stop();
}

#[test]
fn an_operator_is_answered_by_a_master_without_descriptors() {
    let cluster = playground!().start();
    let master = cluster.master();
    limit_descriptors(master, first_of_a_child(master));
    for _ in 0..8 {
        let ran = cluster.verb(&["status"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    limit_descriptors(master, 1024);
    cluster.stop();
}

#[test]
fn a_worker_that_the_kernel_kills_for_want_of_memory_is_told_so() {
    let files = ["memory.limit_in_bytes", "memory.max"];
    let bytes = (96 << 20).to_string();
    let Some(memory) = ControlGroup::limited("memory", files, &bytes) else {
        eprintln!("this machine has no control group for memory; nothing was tested");
        return;
    };
    // Without this, what is too much would be swapped out first.
    memory.set("memory.swap.max", "0");
    let cluster = playground!().inside(&memory).start();
    let mut connection = cluster.connect();
    connection.ask("/grow/200").unwrap();
    let exited = cluster.wait("worker-exited");
    for word in [
        "killed by signal 9 (SIGKILL)",
        "OOM killer was at work: oom_kill 0 -> 1",
    ] {
        assert!(exited.why().contains(word), "no {word} in {exited:?}");
    }
    let replaced = cluster.wait("worker-replaced");
    cluster.expect_status("the last exit tells it", |status| {
        let slot = usize::try_from(replaced.slot.unwrap()).unwrap();
        status["workers"][slot]["last_exit"]
            .to_string()
            .contains("OOM killer")
    });
    // A kill by somebody else is not blamed on the kernel.
    let slot = 1 - replaced.slot.unwrap();
    let mark = cluster.mark();
    cluster.expect("the moment of the first kill is over", || {
        let event = cluster.events().pop().unwrap();
        u64::try_from(hatchery_protocol::clock::monotonic().as_millis()).unwrap()
            > event.ts_ms + 2500
    });
    kill(cluster.worker(slot), Signal::KILL);
    let exited = cluster.wait_since(mark, step("worker-exited").slot(slot));
    assert!(!exited.why().contains("OOM"), "{exited:?}");
    cluster.stop();
    drop(memory);
}
