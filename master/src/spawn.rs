//! Making a process: this executable, or a newer build of it, run again, as a child or as the next master.
//!
//! No `pre_exec`, no uid, no gid on the command: with those, std has to fork, which costs 94 ms with a
//! master of 2 GiB against 0.6 ms for posix_spawn(3). What a child has to do first, it does itself.
//!
//! To be called from the master's main thread only: the parent-death signal follows the *thread* that
//! created the child (PR_SET_PDEATHSIG(2const)), and a thread of a pool ends when it is idle.

use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use hatchery_protocol::PROTOCOL_VERSION;
use hatchery_protocol::boot::{ENV_MASTER, ENV_PROTOCOL, ENV_ROLE};
use hatchery_protocol::id::Seat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::attributes::Account;
use crate::executable::{self, Executable};
use crate::link;
use crate::output::Stream;

/// What a service manager tells the master and no child must see.
const MASTER_ONLY: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
];

/// A process that was just created.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    /// Names this process and no later one with the same pid.
    pub(crate) pidfd: OwnedFd,
    /// This master's end of the link.
    pub(crate) link: OwnedFd,
    /// What the process writes until it is ready.
    pub(crate) stdout: OwnedFd,
    /// The same for standard error.
    pub(crate) stderr: OwnedFd,
}

/// A child that was just created: a process, or a thread of this one.
#[derive(Debug)]
pub(crate) struct Newborn {
    pub(crate) pid: Pid,
    /// Readable when it has ended.
    pub(crate) end: OwnedFd,
    /// This master's end of the link.
    pub(crate) link: OwnedFd,
    /// What it writes until it is ready. A thread writes where its process does.
    pub(crate) output: Vec<(OwnedFd, Stream)>,
    /// Of a thread: whoever writes here first says how it ended.
    pub(crate) teller: Option<PipeWriter>,
}

impl From<Spawned> for Newborn {
    fn from(spawned: Spawned) -> Self {
        Self {
            pid: spawned.pid,
            end: spawned.pidfd,
            link: spawned.link,
            output: vec![(spawned.stdout, Stream::Out), (spawned.stderr, Stream::Err)],
            teller: None,
        }
    }
}

/// How children are made: resolved once, at the master's start.
#[derive(Debug)]
pub(crate) struct Spawner {
    name: String,
    arguments: Vec<OsString>,
    /// What programs of the user that children become expect to find.
    environment: Vec<(&'static str, OsString)>,
}

impl Spawner {
    pub(crate) fn new(name: &str, account: Option<&Account>) -> Self {
        Self {
            name: name.to_owned(),
            arguments: std::env::args_os().skip(1).collect(),
            environment: account.map(|a| a.environment.clone()).unwrap_or_default(),
        }
    }

    /// Creates the process for a seat. What it executes is its generation's: a replacement is never of another
    /// build than the processes it joins.
    pub(crate) fn spawn(&self, seat: Seat, executable: &Executable) -> io::Result<Spawned> {
        let mut command = Command::new(executable.path());
        command
            .arg0(format!("{}: {seat}", self.name))
            .args(&self.arguments)
            .env(ENV_ROLE, seat.role().as_str())
            .env(ENV_PROTOCOL, PROTOCOL_VERSION.to_string())
            .env(ENV_MASTER, std::process::id().to_string())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // Ctrl-C reaches the master alone, and what a child starts can be found when it dies.
            .process_group(0);
        for name in MASTER_ONLY {
            command.env_remove(name);
        }
        create(command, |link| Ok(rustix::io::ioctl_fionbio(link, true)?))
    }
}

/// Creates a process that has one end of a new socket as its standard input, and pipes to write into. `prepare`
/// gets the other end while there is no process yet.
pub(crate) fn create(
    mut command: Command,
    prepare: impl FnOnce(&OwnedFd) -> io::Result<()>,
) -> io::Result<Spawned> {
    let (link, theirs) = link::ends()?;
    prepare(&link)?;
    let (stdout, child_stdout) = io::pipe()?;
    let (stderr, child_stderr) = io::pipe()?;
    command
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(child_stdout))
        .stderr(Stdio::from(child_stderr));
    let mut process = command.spawn()?;
    // It holds copies of the process's ends, which would hide its death.
    drop(command);
    let pid = i32::try_from(process.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the system gave an impossible process id"))?;
    // Nobody has waited for it yet, so its pid cannot have been given to another process.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
        let _ = process.kill();
        let _ = process.wait();
    })?;
    Ok(Spawned {
        pid,
        pidfd,
        link,
        stdout: stdout.into(),
        stderr: stderr.into(),
    })
}

/// A process that cannot be watched must not live. It is nobody's, and will be reaped as an orphan; until then
/// its pid is its own.
pub(crate) fn abandon(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

/// Whether an error is about the number of open files, of this process or of the host.
pub(crate) fn is_want_of_descriptors(error: &io::Error) -> bool {
    let wants = [Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| wants.contains(&errno))
}

/// What the system said, and which limit or executable that is about.
pub(crate) fn explain(error: &io::Error) -> String {
    let limit = match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => "no more processes: RLIMIT_NPROC, or pids.max of the control group",
        Some(Errno::MFILE) => "RLIMIT_NOFILE of the master",
        Some(Errno::NFILE) => "fs.file-max of the host",
        Some(Errno::NOMEM) => "no memory for another process",
        _ => return executable::explain(error),
    };
    format!("{error}; {limit}")
}
