//! A cluster as its operator sees it: commands, status, signals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::Cluster;
use crate::command::{Ran, run};
use crate::control::Control;
use crate::process;
use crate::wait;

impl Cluster {
    /// Runs a command of the playground's on this cluster.
    #[track_caller]
    pub fn verb(&self, args: &[&str]) -> Ran {
        run(self.plan.verb(args))
    }

    /// Starts a command of the playground's on this cluster, its output going to a file.
    #[track_caller]
    pub fn spawn_verb(&self, args: &[&str], output: &Path) -> Child {
        let output = fs::File::create(output).unwrap();
        let mut command = self.plan.verb(args);
        command
            .stdout(Stdio::from(output.try_clone().unwrap()))
            .stderr(Stdio::from(output));
        command.spawn().unwrap()
    }

    /// Where the control socket is.
    pub fn control_path(&self) -> PathBuf {
        self.plan.runtime_dir().join("control.sock")
    }

    /// A connection to the control socket.
    #[track_caller]
    pub fn control(&self) -> Control {
        Control::connect(&self.control_path()).unwrap()
    }

    /// The status, over the control socket.
    #[track_caller]
    pub fn status(&self) -> Value {
        let mut control = self.control();
        control.ask("status").unwrap();
        control.receive().expect("a status")
    }

    /// Waits until the status satisfies `condition`.
    #[track_caller]
    pub fn expect_status(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) {
        wait::expect(what, || {
            // Before the socket is there, and when it is gone again, there is no status.
            let Ok(mut control) = Control::connect(&self.control_path()) else {
                return false;
            };
            control.ask("status").is_ok() && control.receive().is_some_and(|s| condition(&s))
        });
    }

    /// The workers' processes in order of slot, as the status shows them.
    #[track_caller]
    pub fn worker_pids(&self) -> Vec<u64> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("workers").iter();
        workers
            .filter_map(|worker| worker["pid"].as_u64())
            .collect()
    }

    /// Sends a signal to the master alone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::kill(self.master(), signal);
    }
}
