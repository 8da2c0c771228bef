//! A program that does not outlive whoever started it, even if that is killed.
//!
//! The kernel tells a process of its parent's death if the process itself has asked for that. So this executable is
//! run once more, asks, and becomes the program: asking outlasts exec(2).

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// A command for `program` that gets `TERM` when the calling thread is no more. Only to be used on a thread that ends with
/// the process.
pub(super) fn command(program: &Path) -> Command {
    // Not by its path: that may have another build by now.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("dev")
        .arg("--child-of")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    command
}

/// Returns only if the program cannot be run.
pub(super) fn become_program(parent: i32, words: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else {
        return ExitCode::from(super::USAGE);
    };
    let armed = set_parent_process_death_signal(Some(Signal::TERM));
    if getppid() != Pid::from_raw(parent) {
        return ExitCode::FAILURE;
    }
    let error = match armed {
        Ok(()) => std::process::Command::new(program).args(arguments).exec(),
        Err(error) => error.into(),
    };
    let program = Path::new(program).display();
    let _ = writeln!(io::stderr(), "error: {program} cannot be run: {error}");
    ExitCode::FAILURE
}
