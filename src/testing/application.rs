//! What to start, and how.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::Cluster;
use super::events::Events;
use super::{Event, Failure};

/// A cluster to be: an executable, its settings, its environment.
///
/// It listens on a port of 127.0.0.1 that the kernel chooses, and has a folder of its own for its runtime directory, so any number
/// of them run side by side. Settings of whoever runs the test (`HATCHERY_...`) do not count.
#[derive(Debug)]
#[must_use = "nothing runs until `start`"]
pub struct Application {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    listens: bool,
    patience: Duration,
}

impl Application {
    /// The application that this executable is. In an integration test: `env!("CARGO_BIN_EXE_myapp")`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            listens: false,
            patience: Duration::from_secs(30),
        }
    }

    /// How many workers.
    pub fn workers(self, count: u32) -> Self {
        self.flag("--workers", count.to_string())
    }

    /// Agent and one worker inside of the master's process: what tells of deaths, replacements and process ids does not
    /// apply, see `docs/single.md`.
    pub fn single(mut self) -> Self {
        self.arguments.push("--single".into());
        self
    }

    /// A setting, as on the command line. An address (`--listen`) takes the place of the one that the kernel chooses.
    pub fn flag(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.listens |= name == "--listen" || name == "--port";
        self.arguments.extend([name.into(), value.into()]);
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// How long anything may take that is waited for; 30 seconds unless told otherwise. A test that passes
    /// never waits so long, so be generous: the machine may have other work.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts it and waits until every process is ready.
    ///
    /// # Errors
    ///
    /// The executable cannot be run, or the start failed: the [`Failure`] has what the processes wrote.
    pub fn start(self) -> Result<Cluster, Failure> {
        let cluster = self.launch()?;
        cluster.wait(Event::EggReady)?;
        Ok(cluster)
    }

    /// Starts it and waits for nothing: for starts that are meant to fail.
    ///
    /// # Errors
    ///
    /// The executable cannot be run.
    pub fn launch(self) -> Result<Cluster, Failure> {
        let folder = tempfile::Builder::new().prefix("hatchery-").tempdir();
        let folder =
            folder.map_err(|error| Failure::new(format!("no temporary folder: {error}")))?;
        let shown = self.program.display().to_string();
        let child = self
            .command(&folder)
            .and_then(|mut command| command.spawn())
            .map_err(|error| Failure::new(format!("{shown} cannot be run: {error}")))?;
        let events = Events::new(folder.path().join("events"));
        Ok(Cluster::new(
            self.program,
            folder,
            child,
            events,
            self.patience,
        ))
    }

    fn command(&self, folder: &TempDir) -> std::io::Result<Command> {
        let output = File::create(output(folder.path()))?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HATCHERY_") {
                command.env_remove(name);
            }
        }
        command
            .arg("start")
            .arg("--runtime-dir")
            .arg(runtime_dir(folder.path()))
            .arg("--events")
            .arg(folder.path().join("events"))
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if !self.listens {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // In the test's process group: a Ctrl-C for the test is one for the cluster.
        Ok(command)
    }
}

pub(super) fn runtime_dir(folder: &Path) -> PathBuf {
    folder.join("run")
}

/// Where the processes write.
pub(super) fn output(folder: &Path) -> PathBuf {
    folder.join("output")
}
