//! What to start, and how.

pub(crate) mod launch;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::deploy::copy_program;

pub use launch::bare;

/// The user that has no rights: `nobody`.
pub const NOBODY: u32 = 65_534;

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
}
