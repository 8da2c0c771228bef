//! What a plan becomes: a cluster, a daemon, or a command that ends.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Plan;
use crate::cluster::Cluster;
use crate::command::{Ran, run};
use crate::daemon::Daemon;
use crate::ended::Ended;
use crate::survivors::Survivors;

/// Hands the writing end of the pipe of [`Survivors`] over as descriptor 9, which `--pass-fds` has everybody inherit. It comes as standard input,
/// because that is the one descriptor that leaks into no other test's processes on the way.
///
/// Should the test itself be killed, the master is, too; and then its children leave as they should.
pub(crate) const SHELL: &str = r#"exec 9<&0 </dev/null; exec setpriv --pdeathsig KILL -- "$@""#;
/// As [`SHELL`], with descriptors that came as standard output and standard error and become those of
/// `LISTEN_FDS`. The two streams go where [`Plan::launch`] lets them go otherwise.
const ACTIVATING_SHELL: &str = r#"exec 9<&0 </dev/null 3<&1 4<&2 1>>stdout 2>>stderr
case $1 in 1) exec 4<&- ;; esac
LISTEN_FDS=$1; shift
export LISTEN_FDS
LISTEN_PID=$$ exec setpriv --pdeathsig KILL -- "$@""#;

/// Variables of the one who runs the tests that would mean something to a cluster.
const FOREIGN_PREFIXES: [&str; 4] = ["HATCHERY_", "PLAYGROUND_", "LISTEN_", "NOTIFY_"];
const FOREIGN: [&str; 3] = ["WEB_CONCURRENCY", "XDG_RUNTIME_DIR", "RUST_LOG"];

impl Plan {
    /// Starts the cluster and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let cluster = self.launch();
        cluster.wait("egg-ready");
        cluster
    }

    /// Starts the cluster and waits until the master is gone again, and everybody with it.
    #[track_caller]
    pub fn run_to_end(self) -> Ended {
        self.launch().expect_exit()
    }

    /// Runs the same command line to its end as a command, not as a cluster: for command lines that start
    /// nothing, or return while the cluster goes on.
    #[track_caller]
    pub fn run_command(&self) -> Ran {
        let mut command = self.command();
        command.stdin(Stdio::null());
        run(command)
    }

    /// Starts the master and waits for nothing.
    #[track_caller]
    pub fn launch(mut self) -> Cluster {
        let (survivors, writer) = Survivors::pipe().unwrap();
        let mut command = self.command();
        command
            .stdin(Stdio::from(writer))
            .stdout(append(&self.path("stdout")))
            .stderr(append(&self.path("stderr")));
        if let Some(socket) = self.inherited.first() {
            command.stdout(Stdio::from(socket.try_clone().unwrap()));
        }
        if let Some(socket) = self.inherited.get(1) {
            command.stderr(Stdio::from(socket.try_clone().unwrap()));
        }
        let child = command.spawn().unwrap();
        // The command holds the writing end of the pipe.
        drop(command);
        // As a service manager that is gone: what is handed over is the cluster's.
        self.inherited.clear();
        Cluster::new(self, child, survivors)
    }

    /// Runs the command line as one that returns while the cluster goes on: `--daemon`.
    #[track_caller]
    pub fn run_daemon(self) -> Daemon {
        let (survivors, writer) = Survivors::pipe().unwrap();
        let mut command = self.command();
        command.stdin(Stdio::from(writer));
        let ran = run(command);
        Daemon::new(self, ran, survivors)
    }

    /// Runs another command of the playground's with all that this plan says, as `check`.
    #[track_caller]
    pub fn run_instead(&self, verb: &str) -> Ran {
        let mut command = self.command_for(verb);
        command.stdin(Stdio::null());
        run(command)
    }

    /// Runs another command of the playground's with this plan's runtime directory.
    #[track_caller]
    pub fn run_verb(&self, args: &[&str]) -> Ran {
        run(self.verb(args))
    }

    pub(crate) fn is_nested(&self) -> bool {
        self.nested
    }

    fn command(&self) -> Command {
        self.command_for("start")
    }

    fn command_for(&self, verb: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        match self.inherited.len() {
            0 => command.args(["-c", SHELL, "sh"]),
            n => command.args(["-c", ACTIVATING_SHELL, "sh", &n.to_string()]),
        };
        command.args(&self.wrapper);
        command.arg(&self.program).arg(verb);
        for (name, value) in &self.flags {
            command.arg(name).arg(value);
        }
        let any_port = ["127.0.0.1:0".to_owned()];
        let listen = if self.listen.is_empty() && !self.addressless {
            any_port.as_slice()
        } else {
            self.listen.as_slice()
        };
        for address in listen {
            command.args(["--listen", address]);
        }
        command.args(&self.extra);
        clean_environment(&mut command);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        // As a shell with job control does: a Ctrl-C reaches this group.
        command.process_group(0).current_dir(self.folder.path());
        command
    }

    /// A command of the playground's for this cluster, as `status`.
    pub(crate) fn verb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.tool);
        command
            .args(args)
            .arg("--runtime-dir")
            .arg(self.runtime_dir())
            .stdin(Stdio::null())
            .current_dir(self.folder.path());
        clean_environment(&mut command);
        command
    }
}

/// A command of the playground's that concerns no cluster.
pub fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    clean_environment(&mut command);
    command
}

/// Takes away what the environment of the one who runs the tests would tell a cluster.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN_PREFIXES
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || FOREIGN.contains(&text.as_ref())
        {
            command.env_remove(&name);
        }
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}
