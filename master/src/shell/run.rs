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
use rustix::process::{Resource, getpid, getrlimit, set_child_subreaper, setrlimit};
use thiserror::Error;
use tokio::sync::mpsc;

use super::control::Control;
use super::ground::{Ground, Origin};
use super::heir::{Heir, start_takes};
use super::started_by::{Awaiting, StartedBy};
use super::{Build, INPUTS, Input, Orders, Shell};
use crate::attributes::{AttributesError, Resolved};
use crate::cgroup::{OomCounter, usable_cpus};
use crate::config::{Config, KILL_AFTER};
use crate::executable::{Executable, Program};
use crate::front::Front;
use crate::handoff::Handoff;
use crate::journal::Journal;
use crate::launch::Launcher;
use crate::listener::{BindError, Served};
use crate::metrics::Counters;
use crate::notify::Notifier;
use crate::output::Output;
use crate::pid_file::PidFile;
use crate::post::Post;
use crate::reserve::Reserve;
use crate::roll::see_off;
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

/// Why a master could not even begin.
#[derive(Debug, Error)]
pub(super) enum StartError {
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
    #[error(
        "the running application is {name} with runtime directory {runtime_dir}, and this configuration says \
         {new_name} with {new_runtime_dir}; both can only change with a stop and a start"
    )]
    Moved {
        name: String,
        runtime_dir: PathBuf,
        new_name: String,
        new_runtime_dir: PathBuf,
    },
    #[error(
        "the running application has processes of its own, and this configuration says `single`, which no process can \
         take over; it takes a stop and a start"
    )]
    Single,
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
            | Self::Moved { .. }
            | Self::Single
            | Self::Bind(BindError::Conflict(_) | BindError::NoPort(..)) => Exit::BadConfig,
            Self::Bind(_) => Exit::BindFailed,
            Self::System(_) => Exit::Internal,
        }
    }
}

/// Runs a cluster to its end. To be called on the main thread, with no runtime around.
///
/// Says what went wrong in the log and to who started it.
pub fn run(config: Config, front: Box<dyn Front>, started_by: StartedBy) -> Exit {
    let program = Program::of_this_process();
    let passed = pass_on(&config.pass_fds);
    let (origin, awaited) = started_by.begin();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return refuse(awaited, &error.into()),
    };
    if let Err(error) = passed {
        return refuse(awaited, &error);
    }
    let exit = runtime.block_on(live(config, (front, program), origin, awaited));
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

fn refuse(awaited: Awaiting, error: &StartError) -> Exit {
    say_failure(&error.to_string());
    let message = error.to_string();
    match awaited {
        Awaiting::Nobody => {}
        Awaiting::Launcher(launcher) => {
            let exit = error.exit();
            launcher.report(&LaunchReport::Failed { exit, message });
        }
        Awaiting::Predecessor(will) => will.fail(error.exit(), &message),
    }
    error.exit()
}

async fn live(
    config: Config,
    surroundings: (Box<dyn Front>, Program),
    origin: Origin,
    awaited: Awaiting,
) -> Exit {
    let (sender, inputs) = mpsc::channel(INPUTS);
    if let Err(error) = signals::install(&sender) {
        return refuse(awaited, &error.into());
    }
    let (alive, mut clients) = mpsc::channel(1);
    let mut shell = match prepare(config, surroundings, origin, sender, alive) {
        Ok(shell) => shell,
        Err(error) => return refuse(awaited, &error),
    };
    match awaited {
        Awaiting::Nobody => {}
        Awaiting::Launcher(launcher) => {
            name_process(&shell.adopted.config.name);
            shell.background = true;
            shell.launcher = Some(launcher);
            watch_launcher(&shell);
        }
        Awaiting::Predecessor(will) => {
            will.preparing(start_takes(&shell.adopted.config));
            shell.heir = Some(Heir::new(will));
        }
    }
    let remains = shell.turn_until_the_end(inputs).await;
    drop(remains.control);
    drop(remains.pid_file);
    remains.journal.close();
    remains.output.close();
    // Ends as soon as the last client's task is done.
    let _ = tokio::time::timeout(FAREWELL, clients.recv()).await;
    drop(remains.lock);
    remains.exit
}

/// What a shell leaves, to be put away in this order.
pub(super) struct Remains {
    pub(super) exit: Exit,
    pub(super) control: Control,
    pub(super) pid_file: Option<PidFile>,
    pub(super) journal: Journal,
    pub(super) output: Output,
    pub(super) lock: RuntimeDir,
}

/// Everything that can fail before a process is started, in an order that leaves nothing behind.
fn prepare(
    config: Config,
    (front, program): (Box<dyn Front>, Program),
    origin: Origin,
    inputs: mpsc::Sender<Input>,
    alive: mpsc::Sender<()>,
) -> Result<Shell, StartError> {
    let began = monotonic();
    raise_descriptor_limit();
    // Grandchildren whose parents died come to us instead of to process 1. Not fatal: without it they
    // are only harder to find. Where the author's code shares this process, its children are its own.
    if !config.single
        && let Err(error) = set_child_subreaper(Some(getpid()))
    {
        tracing::warn!("cannot become a subreaper: {error}");
    }
    let attributes = Resolved::find(&config.children, config.threads)?;
    let first = matches!(origin, Origin::Anew(_));
    let ground = match origin {
        Origin::Anew(inheritance) => Ground::anew(&config, inheritance)?,
        Origin::Handover(handover) => {
            let (mut estate, correspondence) = *handover;
            let agents = std::mem::take(&mut estate.agents);
            let ground = Ground::handed_over(&config, estate)?;
            let grace = config.orphan_grace + KILL_AFTER;
            correspondence.follow(agents, grace, inputs.clone())?;
            ground
        }
    };
    let journal = Journal::open(config.events.as_deref()).map_err(|source| StartError::Events {
        path: config.events.clone().unwrap_or_default(),
        source,
    })?;
    if !ground.remnants.is_empty() {
        tokio::spawn(see_off(ground.remnants, KILL_AFTER));
    }
    let mut control = Control::start(ground.control, inputs.clone(), alive)?;
    if first {
        control.open();
    }
    // One that takes over writes it when it has.
    let pid_file = match config.pid_file.as_ref().filter(|_| first) {
        Some(path) => Some(PidFile::write(path).map_err(|source| StartError::PidFile {
            path: path.clone(),
            source,
        })?),
        None => None,
    };
    let listeners = ground.listeners;
    let handoff = Handoff::start(
        &listeners,
        &config.weights,
        config.http.max_connections,
        config.children.cpu_scheduling,
        inputs.clone(),
    )?;
    let post = Post::start(config.messages, inputs.clone())?;
    // Early, so that it has low numbers: a limit that is lowered later takes the others first.
    let mut reserve = Reserve::of(RESERVE);
    reserve.fill(io::stderr());
    // Two masters started at different moments must not act in step.
    let jitter_seed = u64::from(std::process::id()) ^ u64::from(monotonic().subsec_nanos());
    Ok(Shell {
        supervisor: Supervisor::new(policy(&config, jitter_seed))
            .counting_from(ground.generation)
            .beginning_with(ground.workers),
        spawner: Spawner::new(&config.name, attributes.account.as_ref()),
        attributes,
        program,
        front,
        slots: ground.workers,
        adopted: Build {
            generation: ground.generation,
            executable: Executable::Running,
            config,
        },
        staged: None,
        newest: ground.generation,
        orders: Orders::default(),
        jitter_seed,
        background: ground.background,
        served: listeners.iter().map(Served::from).collect(),
        counters: Counters::default(),
        measuring: None,
        reaping: None,
        listeners,
        handoff,
        post,
        ticket_secret: ground.ticket_secret,
        host: ground.host,
        processes: BTreeMap::new(),
        ledger: Arc::default(),
        reserve,
        oom: Arc::new(Mutex::new(OomCounter::new())),
        journal,
        notifier: Notifier::from_environment(),
        output: Output::start()?,
        inputs,
        began,
        launcher: None,
        heir: None,
        successor: None,
        handed_over: false,
        stop_reason: String::new(),
        exit: None,
        runtime_dir: ground.runtime_dir,
        roll: ground.roll,
        control,
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
        booting: usable_cpus(),
        surge: config.surge,
        worker_timeout: config.worker_timeout,
        recycle: config.recycle.clone(),
        exit_on_crash_loop: config.exit_on_crash_loop,
        heals: !config.single,
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
