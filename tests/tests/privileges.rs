//! Whose processes agent and workers are, what else they are for the kernel, and what they inherit.
//!
//! Most of this needs the rights of root, as those who run a cluster so have.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::Duration;

use hatchery_tests::loopback::privileged_address;
use hatchery_tests::plan::NOBODY;
use hatchery_tests::process::{environment, field, kill};
use hatchery_tests::tls::{Authority, Files};
use hatchery_tests::{Cluster, Plan, http, link, playground, step};
use rustix::process::Signal;

/// One value of a process's status.
#[track_caller]
fn first(pid: u32, name: &str) -> String {
    field(pid, name).unwrap().swap_remove(0)
}

/// It is nobody's, for good, and gains nothing by what it starts.
#[track_caller]
fn expect_nobody(pid: u32) {
    let nobody = NOBODY.to_string();
    for line in ["Uid:", "Gid:"] {
        assert_eq!(
            field(pid, line).unwrap(),
            [nobody.as_str(); 4],
            "{line} of {pid}"
        );
    }
    assert_eq!(field(pid, "Groups:").unwrap(), [nobody.as_str()]);
    for line in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(first(pid, line), "0000000000000000", "{line} of {pid}");
    }
    assert_eq!(first(pid, "NoNewPrivs:"), "1");
}

// Another user's.

#[test]
fn agent_and_workers_are_the_users_and_the_master_binds_as_root() {
    let address = privileged_address();
    let cluster = playground!().children_of("nobody").listen(address).start();
    cluster.wait_hooks("egg_ready", 3);
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    for pid in cluster.everybody() {
        expect_nobody(pid);
    }
    assert_eq!(field(cluster.master(), "Uid:").unwrap(), ["0"; 4]);
    assert_eq!(first(cluster.master(), "NoNewPrivs:"), "0");
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    let grandchild = http::get(address, "/child").unwrap();
    let grandchild: u32 = grandchild.text().trim().parse().unwrap();
    expect_nobody(grandchild);
    let environment = environment(grandchild);
    for variable in ["USER=nobody\0", "LOGNAME=nobody\0", "HOME=/nonexistent\0"] {
        assert!(
            environment.contains(variable),
            "{variable} in {environment}"
        );
    }
    cluster.stop();
}

#[test]
fn the_user_may_be_a_number_and_the_group_another() {
    let cluster = playground!()
        .children_of("65534")
        .flag("--group", "daemon")
        .start();
    let worker = cluster.worker(0);
    assert_eq!(first(worker, "Uid:"), NOBODY.to_string());
    assert_eq!(field(worker, "Gid:").unwrap(), ["1"; 4]);
    cluster.stop();
    let cluster = playground!().flag("--group", "daemon").start();
    let worker = cluster.worker(0);
    assert_eq!(first(worker, "Uid:"), "0");
    assert_eq!(field(worker, "Gid:").unwrap(), ["1"; 4]);
    assert_eq!(field(worker, "Groups:").unwrap(), ["1"], "and no other");
    cluster.stop();
}

#[test]
fn the_kernels_signal_is_armed_again_after_the_change() {
    let cluster = playground!()
        .children_of("nobody")
        .flag("--orphan-grace", "20s")
        .flag("--master-timeout", "60s")
        .start();
    // Nothing else tells them: their links stay open, and the silence may last a minute.
    let links = link::all_of_master(cluster.master()).unwrap();
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
    drop(links);
}

#[test]
fn a_suspended_child_of_another_user_dies_with_its_master_if_it_was_told_to() {
    let cluster = playground!()
        .children_of("nobody")
        .flag("--on-master-death", "kill")
        .start();
    kill(cluster.worker(0), Signal::STOP);
    let killed = cluster.kill_master();
    cluster.expect_gone_within(Duration::from_secs(1), killed);
}

#[test]
fn a_crash_of_another_users_worker_may_leave_a_core() {
    let cluster = playground!().children_of("nobody").start();
    // Its files in /proc belong to root as long as it may not be dumped.
    for pid in cluster.everybody() {
        let owner = fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
        assert_eq!(owner, NOBODY);
    }
    cluster.stop();
}

#[test]
fn only_root_may() {
    let plan = playground!().as_nobody().flag("--user", "daemon");
    let words = [
        "`user` is daemon",
        "CAP_SETUID, CAP_SETGID, CAP_KILL",
        "start it as root",
    ];
    let ran = plan.run_instead("check");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{ran:?}");
    }
    plan.run_to_end()
        .expect_code(4)
        .expect_stderr(&words)
        .expect_no("master-started");
    // Who is that user already has nothing to change.
    let cluster = playground!().as_nobody().flag("--user", "nobody").start();
    assert_eq!(first(cluster.worker(0), "Uid:"), NOBODY.to_string());
    cluster.stop();
}

#[test]
fn who_does_not_exist_is_told() {
    for (flag, value) in [("--user", "no-such-user"), ("--group", "no-such-group")] {
        let key = flag.trim_start_matches('-');
        let words = format!("`{key}` cannot be {value}: there is no such {key}");
        let plan = playground!().flag(flag, value);
        assert_eq!(plan.run_instead("check").code, Some(4));
        plan.run_to_end().expect_code(4).expect_stderr(&[&words]);
    }
}

#[test]
fn a_key_that_the_user_cannot_read_is_told_before_the_start() {
    let plan = playground!().children_of("nobody");
    Authority::new().issue(plan.path("").as_path());
    let files = Files::of(&plan.path(""));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let plan = plan.listen(files.at("127.0.0.1:0"));
    let words = ["key.pem", "as user nobody"];
    plan.clone()
        .run_to_end()
        .expect_code(4)
        .expect_stderr(&words);
    chown(&files.key, Some(NOBODY), None).unwrap();
    let cluster = plan.start();
    assert_eq!(first(cluster.worker(0), "Uid:"), NOBODY.to_string());
    cluster.stop();
}

#[test]
fn without_another_user_nobody_gains_rights_either() {
    let cluster = playground!().workers(1).start();
    for pid in cluster.everybody() {
        assert_eq!(first(pid, "NoNewPrivs:"), "1");
        assert_eq!(first(pid, "Uid:"), "0");
    }
    assert_eq!(
        first(cluster.master(), "NoNewPrivs:"),
        "0",
        "an upgrade may need them"
    );
    cluster.stop();
}

// What else they are.

#[test]
fn everybody_has_the_mask() {
    let plan = playground!().flag("--umask", "027");
    let cluster = plan.start();
    for pid in cluster.everybody().into_iter().chain([cluster.master()]) {
        assert_eq!(first(pid, "Umask:"), "0027");
    }
    cluster.stop();
}

fn nice_of(pid: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // The 19th of all, see proc(5).
    fields
        .split_ascii_whitespace()
        .nth(16)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn children_are_as_urgent_as_they_are_to_be_and_the_master_stays_as_it_is() {
    let cluster = playground!()
        .children_of("nobody")
        .flag("--nice", "-3")
        .start();
    for pid in cluster.everybody() {
        assert_eq!(nice_of(pid), -3);
    }
    assert_eq!(nice_of(cluster.master()), nice_of(std::process::id()));
    cluster.stop();
    let cluster = playground!().as_nobody().flag("--nice", "7").start();
    assert_eq!(nice_of(cluster.worker(0)), 7);
    cluster.stop();
    let plan = playground!().as_nobody().flag("--nice", "-3");
    let words = ["`nice` cannot be -3", "CAP_SYS_NICE"];
    plan.run_to_end().expect_code(4).expect_stderr(&words);
}

fn cpus(pid: u32) -> String {
    first(pid, "Cpus_allowed_list:")
}

/// Those that this test may use.
fn usable() -> Vec<u32> {
    cpus(std::process::id())
        .split(',')
        .flat_map(|run| {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            first.parse().unwrap()..=last.parse().unwrap()
        })
        .collect()
}

#[test]
fn slots_have_their_cpus_in_turn_and_replacements_have_those_of_their_slot() {
    let usable = usable();
    let cluster = playground!()
        .workers(3)
        .flag("--cpu-affinity", "auto")
        .start();
    let expect = |cluster: &Cluster| {
        for (slot, cpu) in (0..3).zip(usable.iter().cycle()) {
            assert_eq!(cpus(cluster.worker(slot)), cpu.to_string(), "{slot}");
        }
    };
    expect(&cluster);
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    expect(&cluster);
    let own = cpus(std::process::id());
    assert_eq!(
        [cpus(cluster.agent()), cpus(cluster.master())],
        [own.clone(), own]
    );
    cluster.stop();
}

#[test]
fn cpus_may_be_named_and_must_be_there() {
    let last = usable().last().unwrap().to_string();
    let cluster = playground!().flag("--cpu-affinity", last.as_str()).start();
    for slot in 0..2 {
        assert_eq!(cpus(cluster.worker(slot)), last);
    }
    cluster.stop();
    let plan = playground!().flag("--cpu-affinity", "0;1023");
    let words = ["`cpu_affinity` cannot be 0;1023", "CPU 1023"];
    assert_eq!(plan.run_instead("check").code, Some(4));
    plan.run_to_end().expect_code(4).expect_stderr(&words);
}

/// Its threads by name, each with its scheduling policy: a number of sched_setscheduler(2).
fn policies(pid: u32) -> Vec<(String, u32)> {
    let policy = |stat: PathBuf| {
        // A thread may have ended since it was listed.
        let stat = fs::read_to_string(stat).ok()?;
        let (before, fields) = stat.rsplit_once(')').unwrap();
        let (_, name) = before.split_once('(').unwrap();
        // The 41st of all, see proc(5).
        let policy = fields.split_ascii_whitespace().nth(38)?.parse().unwrap();
        Some((name.to_owned(), policy))
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .filter_map(|thread| policy(thread.unwrap().path().join("stat")))
        .collect()
}

#[test]
fn workers_interrupt_nobody_unless_that_is_said_or_the_master_is_scheduled_otherwise() {
    const OTHER: u32 = 0;
    const BATCH: u32 = 3;
    const IDLE: u32 = 5;
    // Who accepts for workers is like them.
    let expect = |cluster: &Cluster, workers: u32, rest: u32| {
        let [agent, master] = [cluster.agent(), cluster.master()];
        for pid in cluster.everybody().into_iter().chain([master]) {
            for (name, policy) in policies(pid) {
                let for_clients = match pid {
                    _ if pid == agent => false,
                    _ if pid == master => name == "hatchery-accept",
                    _ => true,
                };
                let expected = if for_clients { workers } else { rest };
                assert_eq!(policy, expected, "{name} of {pid}");
            }
        }
    };
    let cluster = playground!().start();
    expect(&cluster, BATCH, OTHER);
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(1));
    expect(&cluster, BATCH, OTHER);
    cluster.stop();
    let cluster = playground!().flag("--cpu-scheduling", "inherit").start();
    expect(&cluster, OTHER, OTHER);
    cluster.stop();
    let cluster = playground!().through(["chrt", "--idle", "0"]).start();
    expect(&cluster, IDLE, IDLE);
    cluster.stop();
    let plan = playground!().flag("--cpu-scheduling", "fifo");
    plan.run_to_end()
        .expect_code(2)
        .expect_stderr(&["--cpu-scheduling", "it must be batch or inherit"]);
}

#[test]
fn everybody_may_open_as_much_as_the_system_allows() {
    let cluster = playground!()
        .workers(1)
        .through(["prlimit", "--nofile=300:5000"])
        .start();
    for pid in cluster.everybody() {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        let values: Vec<&str> = line.split_ascii_whitespace().skip(3).take(2).collect();
        assert_eq!(values, ["5000", "5000"]);
    }
    cluster.stop();
}

// What they inherit.

/// What is behind each descriptor.
fn open_files(pid: u32) -> BTreeSet<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// A careless parent: it leaves a file open.
fn careless(plan: Plan) -> Plan {
    plan.through(["sh", "-c", r#"exec "$@" 5<junk"#, "sh"])
}

#[test]
fn what_a_careless_parent_left_open_is_not_for_children() {
    let plan = playground!().workers(1);
    let junk = plan.path("junk");
    fs::write(&junk, "a secret").unwrap();
    let shown = fs::canonicalize(&junk).unwrap().display().to_string();
    let cluster = careless(plan.clone()).start();
    let grandchild: u32 = cluster.get("/child").trim().parse().unwrap();
    for pid in cluster.everybody().into_iter().chain([grandchild]) {
        assert!(!open_files(pid).contains(&shown), "{pid}");
    }
    assert!(
        open_files(cluster.master()).contains(&shown),
        "it is the master's own affair"
    );
    cluster.stop();
}

#[test]
fn what_they_are_to_inherit_is_theirs() {
    let plan = playground!().workers(1).flag("--pass-fds", "5,9");
    let junk = plan.path("junk");
    fs::write(&junk, "for everybody").unwrap();
    let shown = fs::canonicalize(&junk).unwrap();
    let cluster = careless(plan).start();
    for pid in cluster.everybody() {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/5")).unwrap(), shown);
    }
    cluster.stop();
    let plan = playground!().flag("--pass-fds", "9,77");
    let words = ["`pass_fds` cannot be 77", "has to open it"];
    plan.run_to_end().expect_code(4).expect_stderr(&words);
}

#[test]
fn a_child_has_nothing_but_what_it_needs() {
    let cluster = playground!().start();
    cluster.wait_hooks("egg_ready", 3);
    for pid in cluster.everybody() {
        for file in open_files(pid) {
            let own = ["socket:[", "anon_inode:", "/dev/null", "pipe:["];
            let output = ["stdout", "stderr", "trace.jsonl", "members.jsonl"];
            let known = own.iter().any(|start| file.starts_with(start))
                || output.iter().any(|end| file.ends_with(end));
            assert!(known, "{pid} has {file}");
        }
    }
    cluster.stop();
}
