//! The new master, seen by the old one.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use hatchery_protocol::boot::ENV_SUCCESSOR;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;

use super::attendant::Attendant;
use super::channel;
use super::estate::Inheritable;
use super::wire::ToSuccessor;
use crate::notify::Notifier;
use crate::output::{Output, Stream, Tail, relay};
use crate::shell::Input;
use crate::spawn::abandon;
use crate::sys;

/// Sockets of a service manager, which the old master passes on itself.
const NOT_INHERITED: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

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
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        channel::prepare(&ours)?;
        inheritable.bequeath(&ours).map_err(|error| {
            let kind = error.kind();
            io::Error::new(kind, format!("not all can be handed over: {error}"))
        })?;
        let (stdout, child_stdout) = io::pipe()?;
        let (stderr, child_stderr) = io::pipe()?;
        let mut command = command(executable);
        command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(child_stdout))
            .stderr(Stdio::from(child_stderr));
        let process = command.spawn()?;
        // It holds copies of the new master's ends, which would hide its death.
        drop(command);
        let pid = i32::try_from(process.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the system gave an impossible process id"))?;
        // Nobody has waited for it yet, so its pid cannot have been given to another process.
        let watched = pidfd_open(pid, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(sys::readable)
            .and_then(|pidfd| Ok((pidfd, sys::readable(ours.try_clone()?)?)));
        let (pidfd, socket) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                abandon(process);
                return Err(error);
            }
        };
        let adopted = Arc::new(OnceLock::new());
        let (end, wish) = mpsc::unbounded_channel();
        let tail = Tail::default();
        let relays = [(stdout, Stream::Out), (stderr, Stream::Err)].map(|(pipe, stream)| {
            tokio::spawn(relay(pipe.into(), stream, output.sender(), tail.clone()))
        });
        let attendant = Attendant::new(pidfd, socket, wish, Arc::clone(&adopted));
        tokio::spawn(attendant.run(relays, tail, inputs));
        Ok(Self {
            pid,
            socket: Arc::new(ours),
            end,
            adopted,
        })
    }

    /// An agent of ours was created, and does not know yet what it is.
    pub(crate) fn child(&self, pidfd: BorrowedFd<'_>) {
        self.say(&ToSuccessor::Child, &[pidfd]);
    }

    /// Our agent is out of office.
    pub(crate) fn commit(&self) {
        self.say(&ToSuccessor::Commit, &[]);
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
