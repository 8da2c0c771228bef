//! From a configuration to a running master, and the end of it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::control::LaunchReport;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::secret::Secret;
use rustix::process::{Resource, getpid, getrlimit, set_child_subreaper, setrlimit};
use thiserror::Error;
use tokio::sync::mpsc;

use super::{Build, INPUTS, Input, Orders, Shell};
use crate::attributes::{AttributesError, Resolved};
use crate::cgroup::OomCounter;
use crate::config::{Config, KILL_AFTER};
use crate::control;
use crate::executable::{Executable, Program};
use crate::front::Front;
use crate::handoff::Handoff;
use crate::journal::Journal;
use crate::launch::Launcher;
use crate::listener::{BindError, Inheritance, Served, Shares, SocketFile, bind_all};
use crate::metrics::Counters;
use crate::notify::Notifier;
use crate::output::Output;
use crate::pid_file::PidFile;
use crate::reserve::Reserve;
use crate::runtime_dir::{RuntimeDir, RuntimeDirError};
use crate::signals;
use crate::spawn::Spawner;
use crate::supervisor::{Backoff, Policy, Supervisor};
use crate::sys;

/// How long clients of the control socket may take to read the last event.
const FAREWELL: Duration = Duration::from_millis(500);

/// Descriptors that one more process takes: its link, its lane, two pipes, a pidfd and what the child is given
/// of them, with some to spare.
const RESERVE: usize = 16;
/// The generation of a master's first processes.
const FIRST_GENERATION: u64 = 1;

/// Why a master could not even begin.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Attributes(#[from] AttributesError),
    #[error("events cannot be written to {path}: {source}")]
    Events { path: PathBuf, source: io::Error },
    #[error("the pid file {path} cannot be written: {source}")]
    PidFile { path: PathBuf, source: io::Error },
    #[error("`pass_fds` cannot be {fd}: whoever starts this program has to open it ({source})")]
    PassFd { fd: i32, source: io::Error },
    #[error("the master cannot be set up: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    const fn exit(&self) -> Exit {
        match self {
            Self::RuntimeDir(RuntimeDirError::AlreadyRunning { .. }) => Exit::RunState,
            Self::RuntimeDir(_)
            | Self::Attributes(_)
            | Self::PassFd { .. }
            | Self::Events { .. }
            | Self::PidFile { .. }
            | Self::Bind(BindError::Conflict(_) | BindError::NoPort(..)) => Exit::BadConfig,
            Self::Bind(_) => Exit::BindFailed,
            Self::System(_) => Exit::Internal,
        }
    }
}

/// Runs a cluster to its end. To be called on the main thread, with no runtime around.
///
/// Says what went wrong in the log and, when there is one, to the launcher.
pub fn run(config: Config, front: Box<dyn Front>, launcher: Option<Launcher>) -> Exit {
    let program = Program::of_this_process();
    let passed = pass_on(&config.pass_fds);
    let inheritance = Inheritance::take();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return refuse(launcher, &error.into()),
    };
    if let Err(error) = passed {
        return refuse(launcher, &error);
    }
    let exit = runtime.block_on(live(config, (front, program), launcher, inheritance));
    // What is left are writes to standard output that nobody reads.
    runtime.shutdown_background();
    exit
}

/// Says why the master ends. With a log that shows no errors it is said without the log: a program that
/// just ends is a riddle.
pub(super) fn say_failure(sentence: &str) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{sentence}");
    } else {
        let _ = writeln!(io::stderr(), "error: {sentence}");
    }
}

fn refuse(launcher: Option<Launcher>, error: &StartError) -> Exit {
    say_failure(&error.to_string());
    if let Some(launcher) = launcher {
        launcher.report(&LaunchReport::Failed {
            exit: error.exit(),
            message: error.to_string(),
        });
    }
    error.exit()
}

async fn live(
    config: Config,
    origin: (Box<dyn Front>, Program),
    launcher: Option<Launcher>,
    inheritance: Inheritance,
) -> Exit {
    let (sender, inputs) = mpsc::channel(INPUTS);
    if let Err(error) = signals::install(&sender) {
        return refuse(launcher, &error.into());
    }
    let mut prepared = match prepare(config, origin, inheritance, sender) {
        Ok(prepared) => prepared,
        Err(error) => return refuse(launcher, &error),
    };
    if launcher.is_some() {
        name_process(&prepared.shell.adopted.config.name);
        prepared.shell.background = true;
    }
    prepared.shell.launcher = launcher;
    watch_launcher(&prepared.shell);

    let (alive, mut clients) = mpsc::channel(1);
    let control = tokio::spawn(control::serve(
        prepared.control,
        prepared.shell.inputs.clone(),
        alive,
    ));
    let (exit, journal, output) = prepared.shell.turn_until_the_end(inputs).await;
    control.abort();
    drop(prepared.control_file);
    drop(prepared.pid_file);
    journal.close();
    output.close();
    // Ends as soon as the last client's task is done.
    let _ = tokio::time::timeout(FAREWELL, clients.recv()).await;
    exit
}

struct Prepared {
    shell: Shell,
    /// Held to the end: it is the lock.
    _runtime_dir: RuntimeDir,
    control: tokio::net::UnixListener,
    control_file: SocketFile,
    pid_file: Option<PidFile>,
}

/// Everything that can fail before a process is started, in an order that leaves nothing behind.
fn prepare(
    config: Config,
    (front, program): (Box<dyn Front>, Program),
    inheritance: Inheritance,
    inputs: mpsc::Sender<Input>,
) -> Result<Prepared, StartError> {
    let began = monotonic();
    raise_descriptor_limit();
    // Grandchildren whose parents died come to us instead of to process 1. Not fatal: without it they
    // are only harder to find.
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!("cannot become a subreaper: {error}");
    }
    let attributes = Resolved::find(&config.children, config.threads)?;
    let runtime_dir = RuntimeDir::acquire(&config.runtime_dir)?;
    let shares = Shares {
        strategy: config.strategy,
        workers: config.workers,
    };
    let listeners = bind_all(&config.listen, shares, inheritance)?;
    let journal = Journal::open(config.events.as_deref()).map_err(|source| StartError::Events {
        path: config.events.clone().unwrap_or_default(),
        source,
    })?;
    let (control, control_file) = runtime_dir.bind_control()?;
    let control = tokio::net::UnixListener::from_std(control)?;
    let pid_file = match &config.pid_file {
        Some(path) => Some(PidFile::write(path).map_err(|source| StartError::PidFile {
            path: path.clone(),
            source,
        })?),
        None => None,
    };
    let handoff = Handoff::start(
        &listeners,
        &config.weights,
        config.http.max_connections,
        inputs.clone(),
    )?;
    // Early, so that it has low numbers: a limit that is lowered later takes the others first.
    let mut reserve = Reserve::of(RESERVE);
    reserve.fill(io::stderr());
    // Two masters started at different moments must not act in step.
    let jitter_seed = u64::from(std::process::id()) ^ u64::from(monotonic().subsec_nanos());
    let shell = Shell {
        supervisor: Supervisor::new(policy(&config, jitter_seed)),
        spawner: Spawner::new(&config.name, attributes.account.as_ref()),
        attributes,
        program,
        front,
        slots: config.workers,
        adopted: Build {
            generation: FIRST_GENERATION,
            executable: Executable::Running,
            config,
        },
        staged: None,
        newest: FIRST_GENERATION,
        orders: Orders::default(),
        jitter_seed,
        background: false,
        served: listeners.iter().map(Served::from).collect(),
        counters: Counters::default(),
        measuring: None,
        listeners,
        handoff,
        ticket_secret: Secret::random()?,
        processes: BTreeMap::new(),
        reserve,
        oom: Arc::new(Mutex::new(OomCounter::new())),
        journal,
        notifier: Notifier::from_environment(),
        output: Output::start()?,
        inputs,
        began,
        launcher: None,
        stop_reason: String::new(),
        exit: None,
    };
    Ok(Prepared {
        shell,
        _runtime_dir: runtime_dir,
        control,
        control_file,
        pid_file,
    })
}

pub(super) fn policy(config: &Config, jitter_seed: u64) -> Policy {
    Policy {
        workers: config.workers,
        agent_start_timeout: config.agent_start_timeout,
        worker_start_timeout: config.worker_start_timeout,
        pre_stop_delay: config.pre_stop_delay,
        drain_timeout: config.drain_timeout,
        kill_after: KILL_AFTER,
        backoff: Backoff {
            jitter_seed,
            ..Backoff::default()
        },
        booting: std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        worker_timeout: config.worker_timeout,
        recycle: config.recycle.clone(),
        ..Policy::default()
    }
}

/// What a careless parent left open is not for children: a lock, a pipe that somebody waits on, a secret.
fn pass_on(fds: &[i32]) -> Result<(), StartError> {
    match sys::pass_on_only(fds) {
        Err((fd, source)) if fds.contains(&fd) => Err(StartError::PassFd { fd, source }),
        Err((_, error)) => {
            tracing::warn!("children inherit what was open when the master started: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Each child costs the master five descriptors, and the usual soft limit of 1,024 is a relic of
/// select(2): raise it as far as the hard limit allows. Children inherit it.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// A daemon was run as `/proc/self/exe`, and would show as `exe` in ps(1) and pkill(1).
fn name_process(name: &str) {
    let name: String = name.chars().take(15).collect();
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// A launcher that is interrupted takes its unfinished daemon along.
fn watch_launcher(shell: &Shell) {
    let Some(Ok(handle)) = shell.launcher.as_ref().map(Launcher::watch_handle) else {
        return;
    };
    let inputs = shell.inputs.clone();
    tokio::spawn(async move {
        if closed(handle).await.is_ok() {
            let _ = inputs.send(Input::LauncherGone).await;
        }
    });
}

/// The launcher never writes, so readable means closed.
async fn closed(handle: OwnedFd) -> io::Result<()> {
    let handle = sys::readable(handle)?;
    handle.readable().await?.retain_ready();
    Ok(())
}
