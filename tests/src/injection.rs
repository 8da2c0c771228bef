//! System calls that fail because a test says so, or are written down: by strace(1), at a process that runs already.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::Signal;

use crate::process::kill;
use crate::wait::{self, PATIENCE};

/// What creates a process or a thread. No machine has all of them.
pub const CREATION: &str = "?clone,?clone3,?fork,?vfork";

/// The calls fail as long as this is there.
#[derive(Debug)]
#[must_use = "the calls fail as long as this is there"]
pub struct Injection {
    _strace: Strace,
}

impl Injection {
    /// From now on these calls of the process's first thread, the one that creates a master's processes, fail with
    /// this error, as `ENOMEM`. `None`, said on standard error, where no process may look into another one.
    pub fn begin(pid: u32, calls: &str, error: &str) -> Option<Self> {
        let inject = format!("inject={calls}:error={error}");
        let strace = Strace::attach(pid, calls, Path::new("/dev/null"), &["-e", &inject])?;
        Some(Self { _strace: strace })
    }
}

/// The calls are written down as long as this is there.
#[derive(Debug)]
pub struct Record {
    strace: Strace,
    file: PathBuf,
}

impl Record {
    /// From now on these calls of the process's first thread are written into this file. `None` as with
    /// [`Injection::begin`].
    pub fn begin(pid: u32, calls: &str, file: PathBuf) -> Option<Self> {
        let strace = Strace::attach(pid, calls, &file, &[])?;
        Some(Self { strace, file })
    }

    /// A line for each call until now.
    #[must_use]
    pub fn end(self) -> Vec<String> {
        drop(self.strace);
        let calls = fs::read_to_string(&self.file).unwrap();
        calls.lines().map(str::to_owned).collect()
    }
}

#[derive(Debug)]
struct Strace {
    process: Child,
    /// What it says when it lets go would kill it, if nobody could read that.
    _words: BufReader<ChildStderr>,
}

impl Strace {
    fn attach(pid: u32, calls: &str, file: &Path, more: &[&str]) -> Option<Self> {
        let attached = attach(pid, calls, file, more);
        if let Err(why) = &attached {
            eprintln!(
                "this machine does not let strace(1) look into a process: {why}; nothing was tested"
            );
        }
        attached.ok()
    }
}

fn attach(pid: u32, calls: &str, file: &Path, more: &[&str]) -> Result<Strace, String> {
    let mut process = Command::new("strace")
        .arg("-o")
        .arg(file)
        .args(["-e", &format!("trace={calls}")])
        .args(more)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut words = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    words.read_line(&mut line).unwrap();
    // Said when the process has been told to stop, so before its next call.
    if line.ends_with(" attached\n") {
        return Ok(Strace {
            process,
            _words: words,
        });
    }
    process.wait().unwrap();
    Err(line.trim().to_owned())
}

impl Drop for Strace {
    /// Returns when the process is let go.
    fn drop(&mut self) {
        kill(self.process.id(), Signal::TERM);
        if wait::until(PATIENCE, || self.process.try_wait().unwrap()).is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
