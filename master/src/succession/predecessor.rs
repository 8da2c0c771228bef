//! The old master, seen by the new one.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::boot::ENV_SUCCESSOR;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::Generation;
use hatchery_protocol::schedule::{RunEnd, ScheduleStatus};
use hatchery_protocol::{fd, take_variable};
use rustix::fs::fstat;
use rustix::process::{Pid, Signal, pidfd_send_signal};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::channel::{self, Inbox, receive};
use super::estate::{Estate, EstateError};
use super::wire::{FromSuccessor, ToSuccessor, VERSION};
use crate::shell::Input;
use crate::sys;

/// What the old master decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its agent is out of office: serve.
    Commit,
    /// It goes on itself: leave.
    RollBack,
    /// It is dead, and so is its agent: serve, for nobody else does.
    Alone,
}

/// What the old master tells of schedules.
#[derive(Debug)]
pub(crate) enum Legacy {
    /// What its agent left of one.
    Schedule(Box<ScheduleStatus>),
    /// A run is over that went on in one of its workers.
    RunEnded(Box<RunEnd>),
    /// No worker of its runs anything any more.
    Over,
}

/// Why a process that was started to take over cannot even begin.
#[derive(Debug, Error)]
#[error("cannot take over: {0}")]
pub struct SuccessionError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl SuccessionError {
    /// The code such a process ends with.
    pub const fn exit(&self) -> Exit {
        Exit::RolloutFailed
    }
}

/// A master that is about to hand everything over to this process.
#[derive(Debug)]
pub struct Predecessor {
    estate: Estate,
    correspondence: Correspondence,
    will: Will,
    /// What this process was given as standard output and standard error, which the old master reads.
    pipes: [Option<(u64, u64)>; 2],
}

impl Predecessor {
    /// Looks whether this process was started by a master to take over from it, and if so accepts what it hands
    /// over. To be called at the start of `main`, before there is a second thread. `Ok(None)`: it was not.
    ///
    /// # Errors
    ///
    /// The two masters are of builds that cannot hand over to each other, or standard input is no socket.
    pub fn detect() -> Result<Option<Self>, SuccessionError> {
        if take_variable(ENV_SUCCESSOR).is_none() {
            return Ok(None);
        }
        let refused = |error: io::Error| SuccessionError(error.into());
        let socket = fd::take_stdin().map_err(refused)?;
        channel::prepare(&socket).map_err(refused)?;
        let will = Will {
            socket: Arc::new(socket),
        };
        let mut inbox = Inbox::new();
        will.say(&FromSuccessor::Hello { version: VERSION }, &[]);
        let estate = Estate::receive(&will.socket, &mut inbox).map_err(|error: EstateError| {
            will.fail(Exit::RolloutFailed, &error.to_string());
            SuccessionError(error.into())
        })?;
        if estate.leads_session {
            // Fails only for the leader of a process group, which a process just spawned is not.
            let _ = rustix::process::setsid();
        }
        let correspondence = Correspondence {
            socket: Arc::clone(&will.socket),
            inbox,
        };
        Ok(Some(Self {
            estate,
            correspondence,
            will,
            pipes: [
                number(rustix::stdio::stdout()),
                number(rustix::stdio::stderr()),
            ],
        }))
    }

    /// The generation that follows on the old master's.
    pub const fn next_generation(&self) -> Generation {
        self.estate.next_generation()
    }

    /// Whether it was started in the background.
    pub const fn is_in_background(&self) -> bool {
        self.estate.background
    }

    /// Writes from here on where the old master does, unless this process has found a place of its own.
    pub(crate) fn restore_output(&self) {
        let [out, err] = self.pipes;
        if out == number(rustix::stdio::stdout()) {
            let _ = rustix::stdio::dup2_stdout(&self.estate.stdout);
        }
        if err == number(rustix::stdio::stderr()) {
            let _ = rustix::stdio::dup2_stderr(&self.estate.stderr);
        }
    }

    /// What it hands over, how to hear of it from now on, and how to be heard.
    pub(crate) fn into_parts(self) -> (Estate, Correspondence, Will) {
        (self.estate, self.correspondence, self.will)
    }
}

/// Which file a descriptor leads to.
fn number(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// What the old master can be told. It does not matter if it is gone: whoever waits for its decision hears so.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    socket: Arc<OwnedFd>,
}

impl Will {
    /// How long the start may take.
    pub(crate) fn preparing(&self, within: Duration) {
        self.say(&FromSuccessor::Preparing { within }, &[]);
    }

    /// A process of ours was created, and does not know yet what it is.
    pub(crate) fn child(&self, pid: Pid, pidfd: BorrowedFd<'_>) {
        let pid = pid.as_raw_nonzero().get();
        self.say(&FromSuccessor::Child { pid }, &[pidfd]);
    }

    /// Everybody is ready.
    pub(crate) fn ready(&self, adopted: Vec<u16>) {
        self.say(&FromSuccessor::Ready { adopted }, &[]);
    }

    /// We serve.
    pub(crate) fn serving(&self) {
        self.say(&FromSuccessor::Serving, &[]);
    }

    /// We give up.
    pub(crate) fn fail(&self, exit: Exit, message: &str) {
        let message = message.to_owned();
        self.say(&FromSuccessor::Failed { exit, message }, &[]);
    }

    fn say(&self, message: &FromSuccessor, fds: &[BorrowedFd<'_>]) {
        if let Err(error) = channel::send(&*self.socket, message, fds) {
            // It will give us up when its patience ends.
            tracing::error!("the old master cannot be told: {error}");
        }
    }
}

/// What comes from the old master.
#[derive(Debug)]
pub(crate) struct Correspondence {
    socket: Arc<OwnedFd>,
    inbox: Inbox,
}

impl Correspondence {
    /// Passes on what the old master decides, once, and to its end what it tells of schedules. `agents` are
    /// processes of the old master's that are not yet known to be gone; should the old master die, its last decision
    /// is made for it when they are. They leave by themselves, within `grace`, as its workers do.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket.
    pub(crate) fn follow(
        mut self,
        mut agents: Vec<OwnedFd>,
        grace: Duration,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<()> {
        let socket = sys::readable(self.socket.try_clone()?)?;
        tokio::spawn(async move {
            let mut decided = false;
            loop {
                match receive(&socket, &mut self.inbox).await {
                    Ok(Some((ToSuccessor::Child, fds))) => agents.extend(fds),
                    Ok(Some((ToSuccessor::Commit, _))) => {
                        decided = true;
                        let _ = inputs.send(Input::Decided(Decision::Commit)).await;
                    }
                    Ok(Some((ToSuccessor::Schedule(status), _))) => {
                        let left = Legacy::Schedule(status);
                        let _ = inputs.send(Input::Inherited(left)).await;
                    }
                    Ok(Some((ToSuccessor::RunEnded(end), _))) => {
                        let ended = Legacy::RunEnded(end);
                        let _ = inputs.send(Input::Inherited(ended)).await;
                    }
                    Ok(Some((ToSuccessor::RollBack, _))) => {
                        let _ = inputs.send(Input::Decided(Decision::RollBack)).await;
                        return;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) if decided => {
                        // Should it have been killed, its workers take that long.
                        sleep(grace).await;
                        let _ = inputs.send(Input::Inherited(Legacy::Over)).await;
                        return;
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            for agent in agents {
                expect_gone(agent, grace).await;
            }
            let _ = inputs.send(Input::Decided(Decision::Alone)).await;
        });
        Ok(())
    }
}

/// Waits until a process is gone, and kills it if that takes longer than it may.
async fn expect_gone(pidfd: OwnedFd, grace: Duration) {
    let Ok(watched) = pidfd.try_clone().and_then(sys::readable) else {
        return;
    };
    if timeout(grace, watched.readable()).await.is_err() {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = timeout(grace, watched.readable()).await;
    }
}
