//! `start --daemon`: a master in the background, and a launcher that waits until it is ready.
//!
//! The launcher runs the same program again, in a session of its own and with a socket as standard
//! input. The new master reports on it: ready, or why not. So the launcher's exit code tells the truth,
//! and nothing has to be guessed from a log file or a pid.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hatchery_protocol::boot::ENV_LAUNCHER;
use hatchery_protocol::control::LaunchReport;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::wire::{Decoder, Kind, MAX_CONTROL_FRAME, encode};
use hatchery_protocol::{fd, take_variable};
use thiserror::Error;

/// A master in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The master's process id.
    pub pid: u32,
    /// The addresses it serves.
    pub addresses: Vec<String>,
}

/// Why there is none.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct LaunchError {
    /// The code the master ended with.
    pub exit: Exit,
    /// What it said.
    pub message: String,
}

impl LaunchError {
    fn internal(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Internal,
            message: message.into(),
        }
    }
}

/// Starts a master in the background and waits until it is ready or has failed.
///
/// `arguments` are those of this program, without its name; `output` is the file that gets what the
/// master and its children write, appended.
///
/// # Errors
///
/// The master's own exit code and message, or why it could not even be started.
pub fn launch_daemon(arguments: Vec<OsString>, output: &Path) -> Result<Launched, LaunchError> {
    let unwritable = |error: io::Error| LaunchError {
        exit: Exit::BadConfig,
        message: format!(
            "the log file {} cannot be opened: {error}",
            output.display()
        ),
    };
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(output)
        .map_err(unwritable)?;
    let begin = log.metadata().map_err(unwritable)?.len();
    let second = log.try_clone().map_err(unwritable)?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()
        .map_err(|e| LaunchError::internal(format!("no socket for the report: {e}")))?;
    // What a service manager opened is meant for this process alone. This makes them close-on-exec.
    let _ = sd_notify::listen_fds();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    let master = command
        .args(arguments)
        .env(ENV_LAUNCHER, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(second))
        .spawn()
        .map_err(|e| LaunchError::internal(format!("the master could not be started: {e}")))?;
    // It holds a copy of the master's end of the socket, which would hide the master's death.
    drop(command);
    match await_report(&OwnedFd::from(ours)) {
        Some(LaunchReport::Ready { addresses }) => Ok(Launched {
            pid: master.id(),
            addresses,
        }),
        Some(LaunchReport::Failed { exit, message }) => {
            // Its code is known; wait so that it is really gone when we say so.
            let mut master = master;
            let _ = master.wait();
            Err(LaunchError { exit, message })
        }
        None => Err(post_mortem(master, output, begin)),
    }
}

fn await_report(socket: &OwnedFd) -> Option<LaunchReport> {
    let mut decoder = Decoder::new(MAX_CONTROL_FRAME);
    let mut chunk = [0; 4096];
    let mut fds = VecDeque::new();
    loop {
        if let Some(frame) = decoder.next_frame().ok()? {
            return serde_json::from_slice(&frame.body).ok();
        }
        match fd::receive(socket, &mut chunk, &mut fds) {
            Ok(0) => return None,
            Ok(count) => decoder.push(chunk.get(..count).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The master ended without a report: its exit status and what it wrote have to tell.
fn post_mortem(mut master: Child, output: &Path, begin: u64) -> LaunchError {
    let Ok(status) = master.wait() else {
        return LaunchError::internal("the master is gone without a word");
    };
    let said = File::open(output).and_then(|mut log| {
        log.seek(SeekFrom::Start(begin))?;
        let mut text = String::new();
        log.take(64 * 1024).read_to_string(&mut text)?;
        Ok(text)
    });
    let said = said.unwrap_or_default();
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "is gone".to_owned(),
    };
    let exit = match status.code() {
        Some(2) => Exit::Usage,
        Some(4) => Exit::BadConfig,
        Some(5) => Exit::BindFailed,
        Some(6) => Exit::RunState,
        _ => Exit::StartFailed,
    };
    LaunchError {
        exit,
        message: format!("the master {how} before it was ready: {}", said.trim()),
    }
}

/// The other end: a master that somebody waits for.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
}

impl Launcher {
    /// Looks whether this process was started by [`launch_daemon`], and if so leaves the launcher's
    /// session. To be called at the start of `main`, before there is a second thread.
    pub fn detect() -> Option<Self> {
        take_variable(ENV_LAUNCHER)?;
        let socket = fd::take_stdin().ok()?;
        // Fails only for the leader of a process group, which a process just spawned is not.
        let _ = rustix::process::setsid();
        Some(Self { socket })
    }

    /// Tells the launcher, once. One that is gone does not need to know.
    pub(crate) fn report(self, report: &LaunchReport) {
        let mut bytes = Vec::new();
        let Ok(body) = serde_json::to_vec(report) else {
            return;
        };
        if encode(Kind::Control, 0, &body, &mut bytes).is_ok() {
            let _ = fd::send(&self.socket, &bytes, &[]);
        }
    }

    /// A second handle, to notice that the launcher is gone.
    pub(crate) fn watch_handle(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}
