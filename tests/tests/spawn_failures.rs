//! Replacements that cannot be created: no processes, no descriptors. And deaths for want of memory.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use hatchery_tests::command::run;
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

/// A control group of its own with this much memory, where this machine has any.
struct Memory(PathBuf);

impl Memory {
    fn of(bytes: u64) -> Option<Self> {
        let name = format!("hatchery-tests-{}", std::process::id());
        let kinds = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        kinds.iter().find_map(|(mount, limit)| {
            let group = Path::new(mount).join(&name);
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            // Without this, what is too much would be swapped out first.
            let _ = fs::write(group.0.join("memory.swap.max"), "0");
            Some(group)
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_worker_that_the_kernel_kills_for_want_of_memory_is_told_so() {
    let Some(memory) = Memory::of(96 << 20) else {
        eprintln!("this machine has no control group for memory; nothing was tested");
        return;
    };
    let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", memory.0.display());
    let cluster = playground!().through(["sh", "-c", &script, "sh"]).start();
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
