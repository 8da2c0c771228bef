//! The new master, seen by the old one.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use hatchery_protocol::boot::ENV_SUCCESSOR;
use hatchery_protocol::schedule::{RunEnd, ScheduleStatus};
use rustix::process::Pid;
use tokio::sync::mpsc;

use super::attendant::Attendant;
use super::channel;
use super::estate::Inheritable;
use super::wire::ToSuccessor;
use crate::notify::Notifier;
use crate::output::{Output, Stream, Tail, relay};
use crate::shell::Input;
use crate::spawn::{abandon, create};
use crate::sys;

/// How many past runs of each schedule a new master hears of.
const HANDED_OVER: usize = 2;

/// Sockets of a service manager, which the old master passes on itself.
const NOT_INHERITED: [&str; 4] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
];

/// A process that was started to take over.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) pid: Pid,
    socket: Arc<OwnedFd>,
    end: mpsc::UnboundedSender<End>,
    adopted: Arc<OnceLock<Vec<u16>>>,
}

/// The wish that it leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Without asking.
    pub(super) at_once: bool,
}

impl Successor {
    /// Starts it, with everything there is to hand over in its socket. To be called from the main thread, as
    /// every creation of a process. From here on its end is reported, whatever happens.
    ///
    /// # Errors
    ///
    /// Why there is no process. Nothing is left then.
    pub(crate) fn start(
        executable: &Path,
        inheritable: Inheritable<'_>,
        output: &Output,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let spawned = create(command(executable), |link| {
            channel::prepare(link)?;
            inheritable.bequeath(link).map_err(|error| {
                let kind = error.kind();
                io::Error::new(kind, format!("not all can be handed over: {error}"))
            })
        })?;
        let pid = spawned.pid;
        let watched = sys::readable(spawned.pidfd)
            .and_then(|pidfd| Ok((pidfd, sys::readable(spawned.link.try_clone()?)?)));
        let (pidfd, socket) = watched.inspect_err(|_| abandon(pid))?;
        let adopted = Arc::new(OnceLock::new());
        let (end, wish) = mpsc::unbounded_channel();
        let tail = Tail::default();
        let pipes = [(spawned.stdout, Stream::Out), (spawned.stderr, Stream::Err)];
        let relays = pipes
            .map(|(pipe, stream)| tokio::spawn(relay(pipe, stream, output.sender(), tail.clone())));
        let attendant = Attendant::new(pidfd, socket, wish, Arc::clone(&adopted));
        tokio::spawn(attendant.run(relays, tail, inputs));
        Ok(Self {
            pid,
            socket: Arc::new(spawned.link),
            end,
            adopted,
        })
    }

    /// An agent of ours was created, and does not know yet what it is.
    pub(crate) fn child(&self, pidfd: BorrowedFd<'_>) {
        self.say(&ToSuccessor::Child, &[pidfd]);
    }

    /// Our agent is out of office, and this is what it left of schedules. Of their runs the last ones: all of it has
    /// to fit into the socket.
    pub(crate) fn commit(&self, schedules: Vec<ScheduleStatus>) {
        for mut schedule in schedules {
            schedule.history.truncate(HANDED_OVER);
            self.say(&ToSuccessor::Schedule(Box::new(schedule)), &[]);
        }
        self.say(&ToSuccessor::Commit, &[]);
    }

    /// A run is over that goes on here and is the new master's to know of.
    pub(crate) fn run_ended(&self, end: Box<RunEnd>) {
        self.say(&ToSuccessor::RunEnded(end), &[]);
    }

    /// We go on. It and everything that it started will be gone soon, which is reported then.
    pub(crate) fn end(&self, at_once: bool) {
        // One that is gone already needs no wish.
        let _ = self.end.send(End { at_once });
    }

    /// Which of our listeners it goes on with.
    pub(crate) fn adopted(&self) -> &[u16] {
        self.adopted.get().map_or(&[], Vec::as_slice)
    }

    fn say(&self, message: &ToSuccessor, fds: &[BorrowedFd<'_>]) {
        if let Err(error) = channel::send(&*self.socket, message, fds) {
            // Its silence will be the end of our patience.
            tracing::error!("the new master cannot be told: {error}");
        }
    }
}

/// The command line of this process, with another executable. Not in a group of its own: what a terminal sends
/// to the old master's group is meant for it, too.
fn command(executable: &Path) -> Command {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| executable.into());
    let mut command = Command::new(executable);
    command
        .arg0(name)
        .args(arguments.collect::<Vec<OsString>>())
        .env(ENV_SUCCESSOR, "1");
    for variable in NOT_INHERITED {
        command.env_remove(variable);
    }
    Notifier::hand_over(&mut command);
    command
}
