//! Making the program's process.

use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;

use hatchery_protocol::boot::{ENV_SLOT, ProgramBoot};
use hatchery_protocol::fd;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::exec::ENV_KEEPER;

/// What a program gets beside its command line.
pub(crate) struct Given<'a> {
    /// The sockets with their names, in the order of the addresses.
    pub(crate) sockets: Vec<(&'a str, BorrowedFd<'a>)>,
    /// `NOTIFY_SOCKET`.
    pub(crate) notify: &'a str,
    /// The number of the worker.
    pub(crate) slot: u32,
}

/// A program that runs, and what it writes.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) stdout: PipeReader,
    pub(crate) stderr: PipeReader,
}

/// Starts the program at `path`, and returns when it runs.
///
/// To be called on the main thread: the parent-death signal follows the thread that created the process
/// (PR_SET_PDEATHSIG(2const)).
///
/// # Errors
///
/// There is no process to be had, or the kernel does not take the file for a program.
pub(crate) async fn launch(
    program: &ProgramBoot,
    path: &Path,
    given: &Given<'_>,
) -> io::Result<Launched> {
    let (ours, theirs) = StdStream::pair()?;
    let (stdout, to_stdout) = io::pipe()?;
    let (stderr, to_stderr) = io::pipe()?;
    let mut command = command(program, given, theirs, to_stdout, to_stderr);
    let mut child = command.spawn()?;
    // It holds copies of the program's ends, which would hide its end.
    drop(command);
    let fds: Vec<BorrowedFd<'_>> = given.sockets.iter().map(|(_, fd)| *fd).collect();
    fd::send(&ours, path.as_os_str().as_bytes(), &fds)?;
    ours.set_nonblocking(true)?;
    let mut refusal = Vec::new();
    UnixStream::from_std(ours)?
        .read_to_end(&mut refusal)
        .await?;
    if refusal.is_empty() {
        return Ok(Launched {
            child,
            stdout,
            stderr,
        });
    }
    let _ = child.wait().await;
    let why = String::from_utf8_lossy(&refusal);
    Err(io::Error::other(format!(
        "{} cannot be run: {why}",
        path.display()
    )))
}

fn command(
    program: &ProgramBoot,
    given: &Given<'_>,
    stdin: StdStream,
    stdout: PipeWriter,
    stderr: PipeWriter,
) -> Command {
    let mut command = Command::new("/proc/self/exe");
    if let Some((name, arguments)) = program.command.split_first() {
        command.arg0(name).args(arguments);
    }
    let names: Vec<&str> = given.sockets.iter().map(|(name, _)| *name).collect();
    command
        .current_dir(&program.directory)
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .env(ENV_KEEPER, std::process::id().to_string())
        .env("NOTIFY_SOCKET", given.notify)
        .env(ENV_SLOT, given.slot.to_string())
        .stdin(Stdio::from(OwnedFd::from(stdin)))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .kill_on_drop(true);
    if !names.is_empty() {
        command.env("LISTEN_FDNAMES", OsStr::new(&names.join(":")));
    }
    command
}
