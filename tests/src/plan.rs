//! What to start, and how.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::command::{Ran, run};
use crate::daemon::Daemon;
use crate::deploy::copy_program;
use crate::ended::Ended;
use crate::survivors::Survivors;

/// The user that has no rights: `nobody`.
pub const NOBODY: u32 = 65_534;

/// Hands the writing end of the pipe of [`Survivors`] over as descriptor 9, which `--pass-fds` has everybody inherit. It comes as standard input,
/// because that is the one descriptor that leaks into no other test's processes on the way.
///
/// Should the test itself be killed, the master is, too; and then its children leave as they should.
const SHELL: &str = r#"exec 9<&0 </dev/null; exec setpriv --pdeathsig KILL -- "$@""#;
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

/// A cluster to be: flags, environment, and a directory of its own. A clone shares the directory: it is the
/// same cluster, to be started again.
#[derive(Debug, Clone)]
pub struct Plan {
    program: PathBuf,
    /// What commands are run with: the original, where the cluster runs a copy.
    tool: PathBuf,
    flags: Vec<(String, OsString)>,
    listen: Vec<String>,
    extra: Vec<OsString>,
    env: Vec<(String, OsString)>,
    wrapper: Vec<OsString>,
    nested: bool,
    addressless: bool,
    inherited: Vec<Arc<OwnedFd>>,
    folder: Arc<TempDir>,
}

impl Plan {
    /// A cluster of two workers on a port that the kernel chooses, with short times.
    pub fn new(program: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hatchery-")
            .tempdir()
            .unwrap();
        let plan = Self {
            program: program.into(),
            tool: program.into(),
            flags: Vec::new(),
            listen: Vec::new(),
            extra: Vec::new(),
            env: Vec::new(),
            wrapper: Vec::new(),
            nested: false,
            addressless: false,
            inherited: Vec::new(),
            folder: Arc::new(folder),
        };
        let (run, events) = (plan.runtime_dir(), plan.events_file());
        let (trace, members) = (plan.trace_file(), plan.members_file());
        plan.workers(2)
            .flag("--name", "playground")
            .flag("--runtime-dir", run)
            .flag("--events", events)
            .flag("--agent-start-timeout", "20s")
            .flag("--worker-start-timeout", "20s")
            .flag("--drain-timeout", "5s")
            .flag("--lame-duck", "200ms")
            .flag("--orphan-grace", "2s")
            .flag("--pass-fds", "9")
            .env("PLAYGROUND_TRACE", trace)
            .env("PLAYGROUND_MEMBERS", members)
    }

    /// How many workers.
    #[must_use]
    pub fn workers(self, count: u32) -> Self {
        self.flag("--workers", count.to_string())
    }

    /// How connections are shared among workers.
    #[must_use]
    pub fn strategy(self, name: &str) -> Self {
        self.flag("--strategy", name)
    }

    /// A flag with its value; replaces an earlier value.
    #[must_use]
    pub fn flag(self, name: &str, value: impl Into<OsString>) -> Self {
        let mut plan = self.without(name);
        plan.flags.push((name.to_owned(), value.into()));
        plan
    }

    /// Takes a flag away again.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.flags.retain(|(known, _)| known != name);
        self
    }

    /// An address; the first replaces the default.
    #[must_use]
    pub fn listen(mut self, address: impl std::fmt::Display) -> Self {
        self.listen.push(format!("{address}"));
        self
    }

    /// Says nothing of addresses on the command line: a file does.
    #[must_use]
    pub fn without_default_address(mut self) -> Self {
        self.addressless = true;
        self
    }

    /// An argument as it is, after all flags.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.extra.push(arg.into());
        self
    }

    /// A variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// What the agent's `start` does: `ok|fail|panic|hang|exit:CODE|slow:MS`.
    #[must_use]
    pub fn agent_start(self, what: &str) -> Self {
        self.env("PLAYGROUND_AGENT_START", what)
    }

    /// What the workers' `start` does.
    #[must_use]
    pub fn worker_start(self, what: &str) -> Self {
        self.env("PLAYGROUND_WORKER_START", what)
    }

    /// What every `before_close` does: `ok|slow:MS|hang|panic`.
    #[must_use]
    pub fn before_close(self, what: &str) -> Self {
        self.env("PLAYGROUND_BEFORE_CLOSE", what)
    }

    /// Faults of workers concern this slot only.
    #[must_use]
    pub fn only_slot(self, slot: u32) -> Self {
        self.env("PLAYGROUND_WORKER_SLOT", slot.to_string())
    }

    /// Lets a program start the master, as `env --ignore-signal=CHLD`. It becomes the master by exec.
    #[must_use]
    pub fn through<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper
            .extend(wrapper.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Starts the master as process 1 of a pid namespace. The ids in events are those inside.
    #[must_use]
    pub fn as_process_one(mut self) -> Self {
        self.nested = true;
        self.through(["unshare", "--pid", "--fork", "--mount-proc"])
    }

    /// Starts the master without any rights, in a directory that is its own.
    #[must_use]
    pub fn as_nobody(self) -> Self {
        chown(self.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let id = NOBODY.to_string();
        self.through([
            "setpriv",
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "--inh-caps=-all",
        ])
    }

    /// Lets agent and workers be another user's, whom nothing here belongs to but what hooks write.
    #[must_use]
    pub fn children_of(self, user: &str) -> Self {
        let open = fs::Permissions::from_mode(0o711);
        fs::set_permissions(self.folder.path(), open).unwrap();
        for path in [self.trace_file(), self.members_file()] {
            File::create(&path).unwrap();
            chown(path, Some(NOBODY), None).unwrap();
        }
        self.flag("--user", user)
    }

    /// Hands a socket over as a service manager does, for the address `systemd`; there may be two. Names are
    /// given by `through(["env", "LISTEN_FDNAMES=..."])`.
    #[must_use]
    pub fn inherit(mut self, socket: &impl AsFd) -> Self {
        assert!(self.inherited.len() < 2, "a third has no way to come");
        let socket = socket.as_fd().try_clone_to_owned().unwrap();
        self.inherited.push(Arc::new(socket));
        self
    }

    /// Starts a copy of the playground that may be removed or changed; see [`program`](Self::program).
    #[must_use]
    pub fn own_copy(mut self) -> Self {
        let copy = self.path("playground");
        copy_program(&self.program, &copy);
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        self.program = copy;
        self
    }

    /// Starts what is at this path, which may be a link.
    #[must_use]
    pub fn program_at(mut self, path: PathBuf) -> Self {
        self.program = path;
        self
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A path in the directory of this cluster alone, which is removed in the end.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the control socket and the lock are.
    pub fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// Where events are written.
    pub fn events_file(&self) -> PathBuf {
        self.path("events.jsonl")
    }

    /// Where the playground's hooks write.
    pub fn trace_file(&self) -> PathBuf {
        self.path("trace.jsonl")
    }

    /// Where the playground writes who is ready.
    pub fn members_file(&self) -> PathBuf {
        self.path("members.jsonl")
    }

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
fn clean_environment(command: &mut Command) {
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
