//! The last steps before a process is the program: run by this executable, in the process that the program
//! will be.
//!
//! They cannot be done between fork and exec by somebody else: `LISTEN_PID` is the number of a process that
//! is not there before, and std has no safe way to number descriptors for a child. So the keeper runs this
//! executable once more, with the sockets on their way to standard input; this arms the parent-death signal,
//! puts the sockets in their places, and becomes the program. The socket itself is close-on-exec: its end tells
//! the keeper that the program runs; anything else that comes from it is the sentence why it does not.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use hatchery_protocol::exit::Exit;
use hatchery_protocol::{fd, take_variable};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Set for a process that is about to be a program: the keeper's process id.
pub(crate) const ENV_KEEPER: &str = "HATCHERY_CHILD_KEEPER";

/// The longest path of a program, in bytes, with its final zero (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// The number of the first socket, sd_listen_fds(3).
const FIRST: RawFd = 3;

/// A process that is about to be a program.
#[derive(Debug)]
pub struct Exec {
    keeper: Option<Pid>,
}

impl Exec {
    /// Looks whether this process was started to be a program. To be called at the start of `main`, before
    /// there is a second thread.
    pub fn detect() -> Option<Self> {
        let keeper = take_variable(ENV_KEEPER)?;
        let number = keeper.parse().ok().filter(|number: &i32| *number > 0);
        let keeper = number.and_then(Pid::from_raw);
        Some(Self { keeper })
    }

    /// Becomes the program. Returns only if that cannot be, with the code to end with.
    pub fn run(self) -> Exit {
        // For the process that is killed together with its keeper's keeper: nobody else is left to do it.
        let armed = set_parent_process_death_signal(Some(Signal::KILL));
        if getppid() != self.keeper {
            return Exit::LostMaster;
        }
        // Whoever set the variable by hand has no such socket there, and nobody to be told.
        let Ok(mut socket) = fd::take_stdin() else {
            return Exit::Usage;
        };
        let error = match armed {
            Ok(()) => become_program(&mut socket),
            Err(error) => error.into(),
        };
        let _ = fd::send(&socket, error.to_string().as_bytes(), &[]);
        Exit::StartFailed
    }
}

/// Returns only with an error.
fn become_program(socket: &mut OwnedFd) -> io::Error {
    let mut path = vec![0; PATH_MAX];
    let mut fds = VecDeque::new();
    let length = match fd::receive(&*socket, &mut path, &mut fds) {
        Ok(length) => length,
        Err(error) => return error,
    };
    path.truncate(length);
    let placed = match place(fds, socket) {
        Ok(placed) => placed,
        Err(error) => return error,
    };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(OsStr::from_bytes(&path));
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    if !placed.is_empty() {
        command
            .env("LISTEN_FDS", placed.len().to_string())
            .env("LISTEN_PID", std::process::id().to_string())
            // The same said once more by newer service managers, of the process that was theirs.
            .env_remove("LISTEN_PIDFDID");
    }
    let error = command.exec();
    drop(placed);
    if error.kind() == io::ErrorKind::NotFound {
        // The file itself was there a moment ago.
        let hint = "what it names to be run by, in its first line or as its loader, is missing";
        return io::Error::other(format!("{hint} ({error})"));
    }
    error
}

/// Gives the sockets the numbers from [`FIRST`] on, open for the program. `socket` moves out of their way.
fn place(fds: VecDeque<OwnedFd>, socket: &mut OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let count = RawFd::try_from(fds.len()).unwrap_or(RawFd::MAX);
    // Out of the way first: they came with the lowest numbers there were, which may be each other's.
    let away = |fd: OwnedFd| fcntl_dupfd_cloexec(&fd, FIRST + count);
    *socket = fcntl_dupfd_cloexec(&*socket, FIRST + count)?;
    let away = fds.into_iter().map(away).collect::<Result<Vec<_>, _>>()?;
    let mut placed = Vec::new();
    for (fd, number) in away.iter().zip(FIRST..) {
        let there = fcntl_dupfd_cloexec(fd, number)?;
        if there.as_raw_fd() != number {
            return Err(io::Error::other(format!(
                "descriptor {number} is taken, where the program expects its socket; take it out of `pass_fds`"
            )));
        }
        fcntl_setfd(&there, FdFlags::empty())?;
        placed.push(there);
    }
    Ok(placed)
}
