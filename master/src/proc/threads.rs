//! What each thread of a process is doing.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::libc;

use super::field;

/// How many threads are looked at.
const MOST: usize = 64;
/// How many lines of a thread's kernel stack are kept.
const STACK: usize = 12;

/// One thread, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Thread {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// As in `/proc/PID/status`: `R (running)`.
    pub(crate) state: String,
    /// The kernel's function in which it waits, if it does and if that is told.
    pub(crate) wait: Option<String>,
    /// The system call it is in.
    pub(crate) call: Option<String>,
    /// The kernel's functions it is in, innermost first. Told to root only.
    pub(crate) stack: Vec<String>,
}

impl Thread {
    fn look(task: &Path) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
        let named = |text: String| Some(text).filter(|t| !t.is_empty() && t != "0");
        let status = task.join("status");
        Some(Self {
            id: task.file_name()?.to_str()?.parse().ok()?,
            name: read("comm").trim_end().to_owned(),
            state: field(status.to_str()?, "State:")?,
            wait: named(read("wchan").trim().to_owned()),
            call: call(&read("syscall")),
            stack: read("stack")
                .lines()
                .take(STACK)
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether a signal or a debugger has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.starts_with(['T', 't'])
    }

    /// Whether it uses a CPU, or would if there were one.
    pub(crate) fn is_running(&self) -> bool {
        self.state.starts_with('R')
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:15} {}", self.id, self.name, self.state)?;
        if let Some(call) = &self.call {
            write!(f, ", in {call}")?;
        }
        if let Some(wait) = &self.wait {
            write!(f, ", waits in {wait}")?;
        }
        for line in &self.stack {
            write!(f, "\n        {line}")?;
        }
        Ok(())
    }
}

/// The threads of a process, the first one first; not more than a log can take.
pub(crate) fn threads(pid: u32) -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let tasks = tasks.flatten().take(MOST);
    tasks
        .filter_map(|task| Thread::look(&task.path()))
        .collect()
}

/// From `/proc/PID/syscall`: the number and the arguments, or `running`, or -1 outside of a system call.
fn call(text: &str) -> Option<String> {
    let number: libc::c_long = text.split_ascii_whitespace().next()?.parse().ok()?;
    if number < 0 {
        return None;
    }
    let known = CALLS.iter().find(|(known, _)| *known == number);
    Some(known.map_or_else(
        || format!("system call {number}"),
        |(_, name)| (*name).to_owned(),
    ))
}

/// The system calls in which threads wait, as far as every architecture has them. The number of any other one
/// is told as it is.
const CALLS: [(libc::c_long, &str); 16] = [
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_read, "read"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_write, "write"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_threads_are_seen() {
        let (ready, go_on) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("sleeper".into())
            .spawn(move || go_on.recv().is_ok())
            .unwrap();
        let sleeper = || {
            let threads = threads(std::process::id());
            threads.into_iter().find(|thread| thread.name == "sleeper")
        };
        while !sleeper().is_some_and(|thread| thread.state.starts_with('S')) {
            std::thread::yield_now();
        }
        let shown = sleeper().unwrap().to_string();
        assert!(
            shown.contains("sleeper") && shown.contains("S (sleeping)"),
            "{shown}"
        );
        drop(ready);
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn system_calls_have_names() {
        let futex = format!(
            "{} 0x1 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f00\n",
            libc::SYS_futex
        );
        assert_eq!(call(&futex).as_deref(), Some("futex"));
        assert_eq!(call("99999 0x1\n").as_deref(), Some("system call 99999"));
        for outside in ["running\n", "-1 0x7ffd 0x7f00\n", ""] {
            assert_eq!(call(outside), None, "{outside}");
        }
    }
}
