//! From the first line of `main` to knowing what to be.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use thiserror::Error;

use super::attributes::{self, AttributeError};
use super::link::{LinkReader, LinkWriter};
use super::shared::Shared;
use super::sockets::Sockets;
use super::{signals, thread, watch};
use crate::boot::{Boot, ENV_MASTER, ENV_PROTOCOL, ENV_ROLE, OnMasterDeath};
use crate::exit::Exit;
use crate::id::{Role, Seat};
use crate::message::{FromChild, MessageError, ToChild, clip, read_message};
use crate::section::Judge;
use crate::{PROTOCOL_VERSION, fd, take_variable};

/// How long a child waits to be told what it is. Its master writes that before the child even runs.
const BOOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a process that was started as a child cannot be one.
#[derive(Debug, Error)]
pub enum BootError {
    /// The environment says "child" but not which.
    #[error(
        "{name}={value} is not understood: {expected}; these variables are set by the master only, unset them to run the program yourself"
    )]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The executable changed under the master.
    #[error(
        "this executable speaks protocol {PROTOCOL_VERSION}, its master speaks {0}; restart the master from the same build"
    )]
    Version(String),
    /// The master died before the child could watch it.
    #[error("the master (pid {0}) is gone")]
    MasterGone(u32),
    /// Standard input is not the link.
    #[error("standard input is not the link to the master: {0}")]
    Link(#[source] io::Error),
    /// The first message is not a [`Boot`].
    #[error("the master sent no boot message: {0}")]
    NoBoot(String),
    /// It cannot be what its master says: another user's, above all.
    #[error("what `user`, `group` and `nice` ask for cannot be had: {0}")]
    Attributes(#[from] AttributeError),
    /// The watch thread or a signal handler could not be set up.
    #[error("the process could not be prepared: {0}")]
    Prepare(#[source] io::Error),
}

impl BootError {
    /// The code such a process ends with.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Environment { .. } => Exit::Usage,
            Self::MasterGone(_) => Exit::LostMaster,
            Self::Version(_)
            | Self::Link(_)
            | Self::NoBoot(_)
            | Self::Attributes(_)
            | Self::Prepare(_) => Exit::Internal,
        }
    }
}

/// What the environment tells: this process is a child, of whom, and in which role.
#[derive(Debug)]
pub struct Origin {
    role: Role,
    master: u32,
}

impl Origin {
    /// Looks whether this process was started by a master, and removes the traces of it from the
    /// environment so that grandchildren are not mistaken for children.
    ///
    /// To be called at the start of `main`, before there is a second thread. `Ok(None)`: not a child.
    ///
    /// # Errors
    ///
    /// Variables of a child with values that no master sets.
    pub fn detect() -> Result<Option<Self>, BootError> {
        let [role, protocol, master] = [ENV_ROLE, ENV_PROTOCOL, ENV_MASTER].map(take_variable);
        let Some(role) = role else {
            return Ok(None);
        };
        let role = match role.as_str() {
            "agent" => Role::Agent,
            "worker" => Role::Worker,
            _ => {
                return Err(BootError::Environment {
                    name: ENV_ROLE,
                    value: role,
                    expected: "it is `agent` or `worker`",
                });
            }
        };
        let protocol = protocol.unwrap_or_default();
        if protocol != PROTOCOL_VERSION.to_string() {
            return Err(BootError::Version(protocol));
        }
        let master = master.unwrap_or_default();
        let master = master.parse().map_err(|_| BootError::Environment {
            name: ENV_MASTER,
            value: master,
            expected: "it is the master's process id",
        })?;
        Ok(Some(Self { role, master }))
    }

    /// The role the environment names.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Becomes that child: arms the parent-death signal, takes the link off standard input, reads what
    /// the child is, becomes that for the kernel, too, and starts the watch thread.
    ///
    /// # Errors
    ///
    /// The master is gone, or standard input is not a link of this version.
    pub fn boot(self) -> Result<Child, BootError> {
        // Armed by the child itself, not before exec: the exec of a file-capability binary clears it
        // (PR_SET_PDEATHSIG(2const)). Then the parent is compared, for it may have died in between.
        // Never with 1: in a container the master is process 1.
        self.follow_master(Signal::TERM)?;
        let signals = signals::install().map_err(BootError::Prepare)?;
        let link = fd::take_stdin().map_err(BootError::Link)?;
        let mut reader = LinkReader::new(link.try_clone().map_err(BootError::Link)?);
        let (boot, fds) = receive_boot(&mut reader, self.master)?;
        name_thread(&boot);
        attributes::take_on(&boot.attributes)?;
        // Once more: a change of user has cleared it.
        self.follow_master(match boot.settings.on_master_death {
            OnMasterDeath::Drain => Signal::TERM,
            OnMasterDeath::Kill => Signal::KILL,
        })?;
        let here = Here {
            master: self.master,
            role: self.role,
            signals: Some(signals),
        };
        here.begin(boot, fds, reader, link)
    }

    /// Has the kernel tell of the master's death, and looks whether it was earlier.
    fn follow_master(&self, signal: Signal) -> Result<(), BootError> {
        set_parent_process_death_signal(Some(signal)).map_err(|e| BootError::Prepare(e.into()))?;
        if getppid() != parent(self.master) {
            return Err(BootError::MasterGone(self.master));
        }
        Ok(())
    }
}

/// Where a child lives, as far as that is known before its boot message.
struct Here {
    master: u32,
    role: Role,
    /// Becomes readable with each `TERM`. `None`: the signals are not this child's, which is a thread of its master's process.
    signals: Option<PipeReader>,
}

impl Here {
    fn begin(
        self,
        boot: Boot,
        mut fds: VecDeque<OwnedFd>,
        reader: LinkReader,
        link: OwnedFd,
    ) -> Result<Child, BootError> {
        if boot.child.seat.role() != self.role {
            return Err(BootError::NoBoot(format!(
                "it is for {}, this is a {}",
                boot.child.seat, self.role
            )));
        }
        let (Some(stdout), Some(stderr)) = (fds.pop_front(), fds.pop_front()) else {
            return Err(without_descriptors());
        };
        let post = match boot.post {
            Some(_) => Some(fds.pop_front().ok_or_else(without_descriptors)?),
            None => None,
        };
        let sockets = Sockets::assign(&boot, fds).map_err(BootError::NoBoot)?;
        let writer = LinkWriter::new(link).map_err(BootError::Prepare)?;
        let shared = Shared::new(&boot, writer).map_err(BootError::Prepare)?;
        let shared = Arc::new(shared);
        shared.link.send(&FromChild::Hello {
            version: PROTOCOL_VERSION,
        });
        let is_process = self.signals.is_some();
        let child = Child {
            boot,
            master: self.master,
            is_process,
            sockets,
            post,
            // A thread writes where its process does.
            output: is_process.then_some((stdout, stderr)),
            shared,
        };
        watch::start(reader, self.signals, &child).map_err(BootError::Prepare)?;
        Ok(child)
    }
}

/// A process that knows what it is and watches its master; or a thread that is one for its master.
#[derive(Debug)]
pub struct Child {
    boot: Boot,
    master: u32,
    /// Whether the process is its own, to be ended by it.
    pub(super) is_process: bool,
    pub(super) sockets: Sockets,
    /// This process's end of its post.
    pub(super) post: Option<OwnedFd>,
    pub(super) output: Option<(OwnedFd, OwnedFd)>,
    pub(super) shared: Arc<Shared>,
}

impl Child {
    /// Becomes a child that is the calling thread of its master's process, with the other end of its link.
    ///
    /// It knows and does all that a process does, but for what concerns a process as a whole: signals, the master's
    /// death, user and priority, and an end that waits for nobody are the master's affair.
    ///
    /// # Errors
    ///
    /// As of [`Origin::boot`].
    pub fn within(role: Role, link: OwnedFd) -> Result<Self, BootError> {
        let master = std::process::id();
        let mut reader = LinkReader::new(link.try_clone().map_err(BootError::Link)?);
        let (boot, fds) = receive_boot(&mut reader, master)?;
        name_thread(&boot);
        thread::work_for(boot.child.seat);
        let here = Here {
            master,
            role,
            signals: None,
        };
        here.begin(boot, fds, reader, link)
    }

    /// What the master told.
    pub const fn boot(&self) -> &Boot {
        &self.boot
    }

    /// Has the application's own configuration judged, now and whenever another one comes. The error is the code to
    /// leave with: the master knows why.
    ///
    /// # Errors
    ///
    /// This process cannot work with it.
    pub fn judge_section(&self, judge: Judge) -> Result<(), Exit> {
        self.shared.configured.judge_by(judge).map_err(|error| {
            let mut message = error.to_string();
            tracing::error!("{message}");
            clip(&mut message);
            self.shared.link.send(&FromChild::Failed {
                hook: "App::config".to_owned(),
                message,
                timed_out: false,
            });
            Exit::HookFailed
        })
    }

    /// The master's process id.
    pub const fn master(&self) -> u32 {
        self.master
    }

    /// Where connections come from; empty after the first call.
    pub fn take_sockets(&mut self) -> Sockets {
        std::mem::take(&mut self.sockets)
    }

    /// The order to leave, when it comes.
    pub fn shutdown(&self) -> super::Shutdown {
        self.shared.shutdown.clone()
    }

    /// Who else is ready.
    pub fn members(&self) -> super::Members {
        self.shared.members.clone()
    }

    /// The way to the other processes of the cluster.
    pub fn messenger(&self) -> super::Messenger {
        super::Messenger::new(Arc::clone(&self.shared.office))
    }

    /// The talk with the master about schedules. What it says goes to whoever calls this last.
    pub fn schedules(&self) -> super::ScheduleLink {
        super::ScheduleLink::new(Arc::clone(&self.shared))
    }

    /// What tells the master of a worker's runs.
    pub fn runs(&self) -> super::RunVoice {
        super::RunVoice::new(Arc::clone(&self.shared))
    }

    /// The counters that beats carry to the master.
    pub fn gauges(&self) -> Arc<super::gauge::GaugeCells> {
        Arc::clone(&self.shared.gauges)
    }

    /// Until it is ready, a child writes its output into pipes that the master reads, so that the last
    /// lines of a failed start can be quoted. From here on it writes where the master itself writes:
    /// nothing of the master's is in the way, and nothing breaks when the master dies.
    pub(super) fn restore_output(&mut self) -> io::Result<()> {
        if let Some((stdout, stderr)) = self.output.take() {
            use io::Write as _;
            io::stdout().flush()?;
            rustix::stdio::dup2_stdout(stdout)?;
            rustix::stdio::dup2_stderr(stderr)?;
            self.shared.output.restored();
            self.shared.link.wake();
        }
        Ok(())
    }
}

fn without_descriptors() -> BootError {
    BootError::NoBoot("it came without its descriptors".into())
}

/// The short name that ps(1) and top(1) show, as `hello:w0`, of the process if this is its first thread. A nicety: a
/// failure changes nothing.
fn name_thread(boot: &Boot) {
    let role = match boot.child.seat {
        Seat::Agent => "agent".to_owned(),
        Seat::Worker(slot) => format!("w{slot}"),
    };
    let name: String = boot.name.chars().take(9).collect();
    if let Ok(name) = CString::new(format!("{name}:{role}")) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// `None` stands for process 0: a parent in another pid namespace.
fn parent(master: u32) -> Option<Pid> {
    i32::try_from(master).ok().and_then(Pid::from_raw)
}

fn receive_boot(
    reader: &mut LinkReader,
    master: u32,
) -> Result<(Boot, VecDeque<OwnedFd>), BootError> {
    let gone = |error: MessageError| BootError::NoBoot(error.to_string());
    loop {
        if let Some(frame) = reader.next_frame().map_err(|e| gone(e.into()))? {
            let ToChild::Boot(boot) = read_message(&frame).map_err(gone)? else {
                return Err(BootError::NoBoot("another message came first".into()));
            };
            let fds = reader.take_fds(frame.fds).map_err(BootError::Link)?;
            return Ok((*boot, fds));
        }
        let mut wait = [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)];
        let timeout = Timespec::try_from(BOOT_TIMEOUT).ok();
        match poll(&mut wait, timeout.as_ref()) {
            Ok(0) => {
                return Err(BootError::NoBoot(format!(
                    "nothing came within {} s",
                    BOOT_TIMEOUT.as_secs()
                )));
            }
            Ok(_) => match reader.fill() {
                Ok(0) => return Err(BootError::MasterGone(master)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(BootError::MasterGone(master));
                }
                Err(e) => return Err(BootError::Link(e)),
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(BootError::Link(e.into())),
        }
    }
}
