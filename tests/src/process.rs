//! Processes, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

use crate::command::run;
use crate::wait;

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// As in proc(5): `R`, `S`, `T`, `Z` and so on.
    pub state: char,
    /// The executable's name, cut to 15 bytes.
    pub name: String,
}

impl Process {
    /// The process with this id, zombies included.
    pub fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, so the fields are counted from its closing parenthesis.
        let (head, fields) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = fields.split_ascii_whitespace();
        Some(Self {
            pid,
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            name: name.to_owned(),
        })
    }

    /// Whether it can still do something.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// How long its first thread has run, and how long it has waited to run, as far as the kernel tells: one that turns in
    /// circles looks like one that a busy machine gives no turn.
    pub fn turns(&self) -> String {
        let times = fs::read_to_string(format!("/proc/{}/schedstat", self.pid));
        let times = times.unwrap_or_default();
        let times = times.split_ascii_whitespace();
        let mut times = times.map_while(|time| time.parse().ok().map(Duration::from_nanos));
        match (times.next(), times.next()) {
            (Some(ran), Some(waited)) => format!("ran {ran:?}, waited {waited:?}"),
            _ => "it is gone".to_owned(),
        }
    }
}

/// Every process that this one can see.
pub fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::find)
        .collect()
}

/// The direct children of a process, zombies included.
pub fn children(pid: u32) -> Vec<Process> {
    all().into_iter().filter(|p| p.parent == pid).collect()
}

/// Whether the process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    Process::find(pid).is_some_and(|process| process.is_alive())
}

/// Becomes the parent of whoever is left by its parent below this process: to learn how such a one ends.
pub fn adopt_orphans() {
    let me = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(me)).unwrap();
}

/// How an adopted process has ended, if it has.
pub fn wait_for_orphan(pid: u32) -> Option<ExitStatus> {
    let options = WaitOptions::NOHANG;
    let ended = waitpid(raw(pid), options).ok().flatten()?;
    Some(ExitStatus::from_raw(ended.1.as_raw()))
}

/// Waits until the process is a zombie or gone.
#[track_caller]
pub fn expect_dead(pid: u32) {
    wait::expect(&format!("process {pid} dies"), || !is_alive(pid));
}

/// Sends a signal. A process that is gone already is no error.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to every process of a group, as a terminal does.
pub fn kill_group(leader: u32, signal: Signal) {
    if let Some(leader) = raw(leader) {
        let _ = kill_process_group(leader, signal);
    }
}

/// The innermost id of a process in a pid namespace; its own id elsewhere.
pub fn inner_pid(pid: u32) -> Option<u32> {
    field(pid, "NSpid:")?.last()?.parse().ok()
}

/// CPU time that a process used, its own and the kernel's for it, in ticks of the clock (100 a second).
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // `utime` and `stime`, the 14th and 15th field of all, see proc(5).
    fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum()
}

/// Lets a second pass in which these processes have nothing to do, and must not use the CPU.
#[track_caller]
pub fn expect_idle(pids: &[u32]) {
    /// What a process may use of a second's hundred ticks for its beats.
    const IDLE: u64 = 10;
    let ticks = || pids.iter().map(|pid| cpu_ticks(*pid)).collect::<Vec<_>>();
    let before = ticks();
    let _: Option<()> = wait::until(Duration::from_secs(1), || None);
    for ((pid, before), after) in pids.iter().zip(before).zip(ticks()) {
        let used = after - before;
        assert!(used < IDLE, "{pid} used {used} ticks of a second");
    }
}

/// Sets how many files a process may have open: it gets no descriptor with this number or a greater one.
#[track_caller]
pub fn limit_descriptors(pid: u32, count: usize) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--nofile={count}:")]);
    let ran = run(prlimit);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let size = field(pid, "VmRSS:").and_then(|words| words.first()?.parse::<u64>().ok());
    size.unwrap_or_default() * 1024
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What the first thread of this name sees behind each number of a descriptor: threads may have tables of
/// their own. `None`: there is no such thread.
pub fn descriptors_of_thread(pid: u32, name: &str) -> Option<BTreeMap<u32, PathBuf>> {
    let table = fs::read_dir(thread(pid, name)?.join("fd")).ok()?.flatten();
    let entry = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?))
    };
    Some(table.filter_map(entry).collect())
}

/// Whether the first thread of this name handles no signal: none is sent to it as long as another may.
pub fn blocks_signals(pid: u32, name: &str) -> Option<bool> {
    let status = fs::read_to_string(thread(pid, name)?.join("status")).ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    // Not KILL (9) and STOP (19), nor the two that the C library keeps for itself (32 and 33).
    let cannot: u64 = [9, 19, 32, 33].iter().map(|signal| 1 << (signal - 1)).sum();
    Some(mask | cannot == u64::MAX)
}

pub(crate) fn thread(pid: u32, name: &str) -> Option<PathBuf> {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let has_name = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    tasks.by_ref().map(|task| task.path()).find(has_name)
}

/// Whether this test has the rights of root, which namespaces, capabilities and other users need.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The values in a line of `/proc/PID/status`, as of `Uid:`.
pub fn field(pid: u32, name: &str) -> Option<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The variables a process was started with, each ended by a zero byte. Whoever starts a program may hear that it has
/// begun before the kernel has laid them out, so an empty list is looked at again.
#[track_caller]
pub fn environment(pid: u32) -> String {
    let variables = wait::until(wait::PATIENCE, || {
        let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
        (!bytes.is_empty()).then_some(bytes)
    });
    let variables = variables.unwrap_or_else(|| panic!("{pid} has no environment"));
    String::from_utf8_lossy(&variables).into_owned()
}

/// `None` for numbers that kill(2) gives another meaning than one process.
pub(crate) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .and_then(Pid::from_raw)
}
