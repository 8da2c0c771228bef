//! System calls that fail because a test says so: by strace(1), at a process that runs already.

use std::io::{BufRead as _, BufReader};
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
    strace: Child,
    /// What it says when it lets go would kill it, if nobody could read that.
    _words: BufReader<ChildStderr>,
}

impl Injection {
    /// From now on these calls of the process's first thread, the one that creates a master's processes, fail with
    /// this error, as `ENOMEM`. `None`, said on standard error, where no process may look into another one.
    pub fn begin(pid: u32, calls: &str, error: &str) -> Option<Self> {
        let begun = attach(pid, calls, error);
        if let Err(why) = &begun {
            eprintln!(
                "this machine does not let strace(1) make calls fail: {why}; nothing was tested"
            );
        }
        begun.ok()
    }
}

fn attach(pid: u32, calls: &str, error: &str) -> Result<Injection, String> {
    let mut strace = Command::new("strace")
        .args(["-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:error={error}")])
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut words = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    words.read_line(&mut line).unwrap();
    // Said when the process has been told to stop, so before its next call.
    if line.ends_with(" attached\n") {
        return Ok(Injection {
            strace,
            _words: words,
        });
    }
    strace.wait().unwrap();
    Err(line.trim().to_owned())
}

impl Drop for Injection {
    /// Returns when the process is let go.
    fn drop(&mut self) {
        kill(self.strace.id(), Signal::TERM);
        if wait::until(PATIENCE, || self.strace.try_wait().unwrap()).is_none() {
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
    }
}
