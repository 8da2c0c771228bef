//! Commands that run to their end.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::wait::{self, PATIENCE};

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}\n{}", self.stdout, self.stderr))
    }
}

/// Runs a command to its end, however much it writes; kills it when it takes too long.
#[track_caller]
pub fn run(command: Command) -> Ran {
    run_within(PATIENCE, command)
}

/// As [`run`], for commands that take longer.
#[track_caller]
pub fn run_within(patience: Duration, mut command: Command) -> Ran {
    let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command
        .stdout(Stdio::from(out.try_clone().unwrap()))
        .stderr(Stdio::from(err.try_clone().unwrap()));
    let mut child = command.spawn().unwrap();
    let shown = format!("{command:?}");
    drop(command);
    let status = wait::until(patience, || child.try_wait().unwrap());
    let read = |file: fs::File| {
        use io::{Read as _, Seek as _};
        let mut file = file;
        let mut text = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let (stdout, stderr) = (read(out), read(err));
    let Some(status) = status else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("{shown} did not end within {patience:?}\n{stdout}\n{stderr}");
    };
    Ran {
        code: status.code(),
        stdout,
        stderr,
    }
}
