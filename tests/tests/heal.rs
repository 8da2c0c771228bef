//! After egg-ready: the cluster repairs itself, tells its members, and does not make things worse.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hatchery_protocol::clock::millis;
use hatchery_tests::event::{count, position};
use hatchery_tests::injection::Record;
use hatchery_tests::process::{self, Process, kill, limit_descriptors};
use hatchery_tests::trace::{Member, News};
use hatchery_tests::wait::LATE;
use hatchery_tests::{Cluster, playground, step, wait};
use rustix::process::Signal;

/// The waits that follow the second, third, ... death in a row, in milliseconds; the first has none.
const BACKOFF: [u64; 4] = [500, 750, 1125, 1688];

#[test]
fn a_crash_loop_is_slowed_down_step_by_step() {
    let cluster = playground!()
        .env("PLAYGROUND_WORKER_EGG_READY", "exit:7")
        .only_slot(1)
        .start();
    let spawned = step("worker-spawned").slot(1);
    cluster.wait_nth(spawned.clone(), 2 + BACKOFF.len());
    let events = cluster.events();
    let times = |wanted: &hatchery_tests::Step| -> Vec<u64> {
        events
            .iter()
            .filter(|e| wanted.fits(e))
            .map(|e| e.ts_ms)
            .collect()
    };
    let (deaths, spawns) = (times(&step("worker-exited").slot(1)), times(&spawned));
    let waits: Vec<u64> = deaths
        .iter()
        .zip(&spawns[1..])
        .map(|(d, s)| s - d)
        .collect();
    // Up to a tenth less by jitter, and a busy machine may be late. That the first death is replaced at
    // once is a matter of the supervisor's own tests.
    for (wait, expected) in waits.iter().zip([0].iter().chain(&BACKOFF)) {
        let range = expected * 9 / 10..=expected + millis(LATE);
        assert!(range.contains(wait), "{waits:?}");
    }
    let status = cluster.status();
    assert_eq!(status["state"], "degraded");
    assert_eq!(
        cluster.connect_to(0).1.pid,
        cluster.worker(0),
        "the others serve on"
    );
    assert_eq!(status["workers"][0]["restarts"], 0);
    cluster.expect_orderly_end();
}

/// Both roles, and only for who has asked for it: the tests beside this one have not.
#[test]
fn a_crash_loop_ends_the_cluster_of_who_wants_that() {
    for (variable, who) in [
        ("PLAYGROUND_WORKER_EGG_READY", "worker 1"),
        ("PLAYGROUND_AGENT_EGG_READY", "agent"),
    ] {
        let cluster = playground!()
            .env(variable, "exit:7")
            .only_slot(1)
            .arg("--exit-on-crash-loop")
            .start();
        let ended = cluster.expect_exit();
        let why =
            format!("{who} is in a crash loop: 3 deaths in a row; the last: exited with code 7");
        ended.expect_code(3).expect_stderr(&[&why]);
        assert_eq!(count(&ended.events, "degraded"), 1);
    }
}

#[test]
fn an_agent_in_a_crash_loop_is_slowed_down_while_workers_serve() {
    let cluster = playground!()
        .env("PLAYGROUND_AGENT_EGG_READY", "panic")
        .start();
    cluster.wait_nth("agent-exited", 4);
    let events = cluster.events();
    let first = events[position(&events, "agent-exited")].ts_ms;
    let fourth = events
        .iter()
        .filter(|e| e.event == "agent-exited")
        .nth(3)
        .unwrap()
        .ts_ms;
    assert!(
        fourth - first >= 1000,
        "half a second and then three quarters, less jitter"
    );
    assert_eq!(cluster.status()["state"], "degraded");
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(count(&cluster.events(), "worker-exited"), 0);
    cluster.expect_orderly_end();
}

#[test]
fn all_workers_killed_at_once_come_back() {
    let cluster = playground!().workers(4).start();
    let before = cluster.everybody();
    for worker in &before[1..] {
        kill(*worker, Signal::KILL);
    }
    // Nobody is refused meanwhile: the master keeps the socket, so the connection waits for a worker.
    assert_eq!(cluster.get("/"), "Hello World");
    for slot in 0..4 {
        cluster.wait(step("worker-replaced").slot(slot));
    }
    assert_eq!(cluster.agent(), before[0]);
    cluster.stop();
}

#[test]
fn everybody_killed_at_once_comes_back() {
    let cluster = playground!().start();
    for pid in cluster.everybody() {
        kill(pid, Signal::KILL);
    }
    cluster.wait_nth("agent-ready", 2);
    cluster.wait(step("worker-replaced").slot(0));
    cluster.wait(step("worker-replaced").slot(1));
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}

#[test]
fn a_worker_terminated_from_outside_finishes_what_it_does() {
    let cluster = playground!().start();
    let (mut connection, who) = cluster.connect_to(0);
    connection.ask("/sleep/700").unwrap();
    // The second answer on another connection of the same worker shows that the first request arrived.
    assert_eq!(cluster.connect_to(0).1, who);
    kill(who.pid, Signal::TERM);
    assert_eq!(connection.receive().unwrap().status, 200);
    let exited = cluster.wait(step("worker-exited").pid(who.pid));
    assert_eq!(exited.why(), "exited with code 0");
    cluster.wait(step("worker-replaced").slot(0));
    let closed = cluster.wait_hooks("before_close", 1);
    assert_eq!(closed[0].pid, who.pid);
    cluster.stop();
}

#[test]
fn a_suspended_worker_costs_nobody_a_connection() {
    let cluster = playground!().start();
    kill(cluster.worker(1), Signal::STOP);
    for _ in 0..100 {
        assert_eq!(cluster.connect().whoami().unwrap().slot, 0);
    }
    kill(cluster.worker(1), Signal::CONT);
    assert_eq!(cluster.connect_to(1).1.pid, cluster.worker(1));
    cluster.stop();
}

#[test]
fn a_cluster_whose_runtime_directory_was_removed_serves_on() {
    let cluster = playground!().start();
    fs::remove_dir_all(cluster.plan().runtime_dir()).unwrap();
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(cluster.verb(&["status"]).code, Some(6));
    cluster.stop();
}

#[test]
fn signals_that_are_meant_for_the_master_do_no_harm_to_others() {
    let cluster = playground!().start();
    let before = cluster.everybody();
    let signals = [
        Signal::INT,
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::TTIN,
        Signal::TTOU,
        Signal::WINCH,
    ];
    for pid in &before {
        for signal in signals {
            kill(*pid, signal);
        }
    }
    for slot in 0..2 {
        assert_eq!(cluster.connect_to(slot).1.pid, before[slot as usize + 1]);
    }
    assert_eq!(cluster.everybody(), before);
    let ended = cluster.stop();
    assert_eq!(count(&ended.events, "draining"), 3);
}

#[test]
fn a_dead_workers_own_children_are_killed() {
    let cluster = playground!().start();
    let (mut connection, who) = cluster.connect_to(0);
    let grandchild = connection
        .get("/child")
        .unwrap()
        .text()
        .trim()
        .parse()
        .unwrap();
    assert!(process::is_alive(grandchild));
    kill(who.pid, Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    process::expect_dead(grandchild);
    cluster.stop();
}

#[test]
fn nothing_leaks_in_the_master_by_replacing_workers() {
    let cluster = playground!().workers(4).start();
    cluster.wait_hooks("egg_ready", 5);
    let master = cluster.master();
    // One of each, so that whatever is made once has been made.
    for slot in 0..4 {
        kill(cluster.worker(slot), Signal::KILL);
        cluster.wait(step("worker-replaced").slot(slot));
    }
    let has = || (process::descriptors(master), process::threads(master));
    let (descriptors, threads) = has();
    let settled = || {
        cluster.expect("what the dead had is given back", || {
            let (has, runs) = has();
            has <= descriptors && runs <= threads
        });
    };
    for slot in 0..4 {
        kill(cluster.worker(slot), Signal::KILL);
        cluster.wait_nth(step("worker-replaced").slot(slot), 2);
        settled();
    }
    cluster.stop();
}

/// The kernel may take seconds to take a dead process down, and does so in the call of whoever waits for it.
#[test]
fn the_control_loop_only_looks_at_the_dead() {
    let plan = playground!().workers(2);
    let file = plan.path("waitid");
    let cluster = plan.start();
    let master = cluster.master();
    let Some(record) = Record::begin(master, "waitid,wait4", file) else {
        return;
    };
    // With the worker dies what it has started, which is the master's then.
    cluster.get("/child");
    for pid in [cluster.worker(0), cluster.worker(1), cluster.agent()] {
        kill(pid, Signal::KILL);
    }
    cluster.wait_nth("worker-replaced", 2);
    cluster.wait_nth("agent-ready", 2);
    cluster.expect("everybody was waited for", || {
        let children = process::children(master);
        children.len() == 3 && children.iter().all(Process::is_alive)
    });
    let calls = record.end();
    let looks = |call: &String| call.contains("waitid(") && call.contains("WNOWAIT");
    let ended = calls.iter().filter(|call| call.contains("CLD_KILLED"));
    assert!(ended.count() >= 3, "{calls:#?}");
    let waits: Vec<_> = calls
        .iter()
        .filter(|call| call.contains("wait") && !looks(call))
        .collect();
    assert!(waits.is_empty(), "{waits:#?}");
    cluster.stop();
}

#[test]
fn a_child_has_only_its_own_descriptors() {
    let cluster = playground!().workers(4).start();
    cluster.wait_hooks("egg_ready", 5);
    // The first worker and the last: a descriptor that is passed on by mistake adds up.
    let first = process::descriptors(cluster.worker(0));
    let last = process::descriptors(cluster.worker(3));
    assert!(first.abs_diff(last) <= 1, "{first} and {last}");
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    cluster.wait_hooks("egg_ready", 6);
    let replacement = process::descriptors(cluster.worker(0));
    assert!(
        replacement.abs_diff(first) <= 1,
        "{replacement} and {first}"
    );
    cluster.stop();
}

#[test]
fn a_childs_own_children_have_no_socket_of_the_clusters() {
    let cluster = playground!().workers(1).start();
    let sockets = |pid: u32| -> BTreeSet<String> {
        fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .filter(|target| target.starts_with("socket:"))
            .collect()
    };
    let grandchild = cluster.get("/child").trim().parse().unwrap();
    let shared: Vec<String> = sockets(cluster.worker(0))
        .intersection(&sockets(grandchild))
        .cloned()
        .collect();
    assert!(shared.is_empty(), "{shared:?}");
    assert!(
        sockets(cluster.worker(0)).len() >= 2,
        "a link and a listener at least"
    );
    cluster.stop();
}

#[test]
fn a_worker_without_descriptors_left_neither_spins_nor_dies() {
    let cluster = playground!().workers(1).start();
    cluster.wait_hooks("egg_ready", 2);
    cluster.connect().whoami().unwrap();
    let worker = cluster.worker(0);
    limit_descriptors(worker, 8);
    let mut waiting: Vec<_> = (0..20).map(|_| cluster.connect()).collect();
    for connection in &mut waiting {
        connection.ask("/whoami").unwrap();
    }
    let before = process::cpu_ticks(worker);
    wait::meanwhile(Duration::from_secs(1), || {
        cluster.status();
    });
    let used = process::cpu_ticks(worker) - before;
    assert!(used < 30, "{used} of 100 ticks: it spins");
    limit_descriptors(worker, 1024);
    for connection in &mut waiting {
        assert_eq!(connection.receive().unwrap().status, 200);
    }
    cluster.stop().expect_no("worker-replaced");
}

// Replacements that cannot even be created.

/// Kills a worker while no process can be created; the others serve on until it is possible again.
fn heals_when_spawning_is_possible_again(cluster: &Cluster, broken: &str, mend: impl FnOnce()) {
    let mark = cluster.mark();
    kill(cluster.worker(1), Signal::KILL);
    let failed = cluster.wait_nth(step("worker-exited").slot(1), 2);
    assert!(failed.why().contains("could not be created"), "{failed:?}");
    assert!(failed.why().contains(broken), "{failed:?}");
    assert_eq!(failed.pid, None, "there never was a process");
    assert_eq!(cluster.connect_to(0).1.pid, cluster.worker(0));
    mend();
    cluster.wait_since(mark, step("worker-replaced").slot(1));
    cluster.stop();
}

#[test]
fn an_executable_that_may_not_be_run_any_more_is_tried_again() {
    let plan = playground!().own_copy();
    let program = plan.program().to_owned();
    let cluster = plan.start();
    let mode = |mode| fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    heals_when_spawning_is_possible_again(&cluster, "ermission", || mode(0o755));
}

#[test]
fn a_master_without_descriptors_left_tries_again() {
    // Workers accept by themselves: whom the master cannot accept would wait.
    let cluster = playground!().flag("--strategy", "shared").start();
    let master = cluster.master();
    limit_descriptors(master, 5);
    heals_when_spawning_is_possible_again(&cluster, "open files", || {
        limit_descriptors(master, 1024);
    });
}

#[test]
fn an_executable_that_was_removed_still_has_replacements() {
    let plan = playground!().own_copy();
    let program = plan.program().to_owned();
    let cluster = plan.start();
    fs::remove_file(program).unwrap();
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.signal(Signal::TERM);
    cluster.expect_exit().expect_code(0);
}

// What members are told.

/// What a process was told so far, in order.
fn told(cluster: &Cluster, pid: u32) -> Vec<News> {
    let mut news = cluster.news();
    news.retain(|line| line.pid == pid);
    news
}

fn expect_told(cluster: &Cluster, pid: u32, what: &str, condition: impl Fn(&News) -> bool) {
    cluster.expect(what, || told(cluster, pid).last().is_some_and(&condition));
}

fn slots(news: &News) -> Vec<u32> {
    news.workers.iter().map(|member| member.slot).collect()
}

#[test]
fn the_agent_sees_its_workers_come_one_by_one() {
    let cluster = playground!().worker_start("slow:500").only_slot(1).start();
    let agent = cluster.agent();
    expect_told(&cluster, agent, "both are there", |news| {
        slots(news) == [0, 1]
    });
    let seen: Vec<Vec<u32>> = told(&cluster, agent).iter().map(slots).collect();
    assert!(seen.contains(&vec![0]), "first one of them: {seen:?}");
    let last = told(&cluster, agent).pop().unwrap();
    let member = |slot| Member {
        slot,
        pid: cluster.worker(slot),
    };
    assert_eq!(last.workers, [member(0), member(1)], "with their processes");
    cluster.stop();
}

#[test]
fn everybody_sees_a_worker_go_and_another_come() {
    let plan = playground!();
    let fault = plan.path("fault");
    let cluster = plan.env("PLAYGROUND_FAULT_FILE", &fault).start();
    let (agent, other) = (cluster.agent(), cluster.worker(0));
    for pid in [agent, other] {
        expect_told(&cluster, pid, "both are there", |news| {
            slots(news) == [0, 1]
        });
    }
    // Slow enough for the time in between to be seen.
    fs::write(&fault, "slow:500").unwrap();
    kill(cluster.worker(1), Signal::KILL);
    for pid in [agent, other] {
        expect_told(&cluster, pid, "one is there", |news| slots(news) == [0]);
    }
    cluster.wait(step("worker-replaced").slot(1));
    let replacement = cluster.worker(1);
    for pid in [agent, other] {
        expect_told(&cluster, pid, "both are there again", |news| {
            slots(news) == [0, 1] && news.workers[1].pid == replacement
        });
    }
    cluster.stop();
}

#[test]
fn an_agent_that_replaces_another_knows_all_workers_at_once() {
    let cluster = playground!().workers(3).start();
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_nth("agent-ready", 2);
    let agent = cluster.agent();
    expect_told(&cluster, agent, "all are there", |news| {
        slots(news) == [0, 1, 2]
    });
    let seen: Vec<Vec<u32>> = told(&cluster, agent).iter().map(slots).collect();
    assert!(
        seen.iter().all(|slots| slots.len() == 3),
        "never only some of them: {seen:?}"
    );
    cluster.stop();
}

#[test]
fn workers_see_the_agent_go_and_another_come() {
    let cluster = playground!().agent_start("slow:500").start();
    let (first, worker) = (cluster.agent(), cluster.worker(0));
    expect_told(&cluster, worker, "the agent is there", |news| {
        news.agent == Some(first)
    });
    kill(first, Signal::KILL);
    expect_told(&cluster, worker, "the agent is gone", |news| {
        news.agent.is_none()
    });
    cluster.wait_nth("agent-ready", 2);
    let second = cluster.agent();
    expect_told(&cluster, worker, "another agent is there", |news| {
        news.agent == Some(second)
    });
    cluster.stop();
}
