//! What the master needs to know: values only, checked where they are parsed.

use std::path::PathBuf;
use std::time::Duration;

use hatchery_protocol::boot::{FleetBoot, HttpLimits, LogFormat, OnMasterDeath, ProgramBoot};
use hatchery_protocol::post::Limits;
use hatchery_protocol::section::Section;

use crate::attributes::ChildAttributes;
use crate::listener::{BACKLOG, Listen};
use crate::strategy::{Strategy, Weights};
use crate::supervisor::Recycle;

/// Everything that steers a cluster. Where the values come from (file, environment, flags) is the
/// caller's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The application's name: names the runtime directory and stands in logs.
    pub name: String,
    /// Where the control socket and the lock are, see [`default_runtime_dir`](crate::default_runtime_dir).
    pub runtime_dir: PathBuf,
    /// Whether agent and worker are threads of the master's process. Then there is one worker, and nobody is replaced.
    pub single: bool,
    /// How many workers to keep; at least 1.
    pub workers: u32,
    /// Threads of each worker's runtime; at least 1.
    pub threads: u32,
    /// The addresses to serve; at least one.
    pub listen: Vec<Listen>,
    /// How connections are shared among workers where an address does not say otherwise.
    pub strategy: Strategy,
    /// How much each slot gets with the strategy `weighted`.
    pub weights: Weights,
    /// What agent and workers are for the kernel.
    pub children: ChildAttributes,
    /// The file mode creation mask of every process; not said: as inherited.
    pub umask: Option<u32>,
    /// Which descriptors, beside the standard streams, children inherit from whoever started the master.
    pub pass_fds: Vec<i32>,
    /// How long `Agent::start` may take.
    pub agent_start_timeout: Duration,
    /// How long `Worker::start` may take.
    pub worker_start_timeout: Duration,
    /// How long workers accept and serve on after a stop was announced.
    pub pre_stop_delay: Duration,
    /// How long a stop may take before what is left is cut off.
    pub drain_timeout: Duration,
    /// How long a draining worker keeps answering on open connections, asking clients to leave.
    pub lame_duck: Duration,
    /// How long children may go on without their master.
    pub orphan_grace: Duration,
    /// How long the master may be silent before its children count it as lost; at least 2 s.
    pub master_timeout: Duration,
    /// How long the runtime of a ready child may stand still before it is killed; zero is for ever.
    pub worker_timeout: Duration,
    /// When a worker is replaced by a fresh one.
    pub recycle: Recycle,
    /// How many workers a reload replaces at once; at least 1.
    pub surge: u32,
    /// Whether a seat in a crash loop ends the whole cluster.
    pub exit_on_crash_loop: bool,
    /// What a client may take of a worker.
    pub http: HttpLimits,
    /// What processes may send to each other.
    pub messages: Limits,
    /// Where the agent meets those of other hosts, if it is to.
    pub fleet: Option<FleetBoot>,
    /// The program that workers keep, if they are not the application themselves. The master only carries it.
    pub program: Option<ProgramBoot>,
    /// The application's own configuration, if it has one. The master only carries it.
    pub section: Option<Section>,
    /// What children do when their master dies.
    pub on_master_death: OnMasterDeath,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the filter syntax of `--log-level`; handed to the children.
    pub log_level: String,
    /// Where to append lifecycle events, one JSON object a line.
    pub events: Option<PathBuf>,
    /// Where to write the master's process id.
    pub pid_file: Option<PathBuf>,
}

/// A child that overruns its time is killed so much later, and the agent gets at least so much.
pub(crate) const KILL_AFTER: Duration = Duration::from_secs(2);

impl Config {
    /// How many connections wait in the kernel's queue of an address that does not say.
    pub const BACKLOG: u32 = BACKLOG;

    /// How long a stop takes at the most: the delay, the drain of the workers, who are killed after it, and
    /// what the agent gets in any case.
    pub fn longest_stop(&self) -> Duration {
        self.pre_stop_delay + self.drain_timeout + KILL_AFTER * 3
    }

    /// What holds after `new` was read while the cluster runs: everything of it that can change then. The names
    /// of what cannot, and has changed, come along.
    pub(crate) fn follow(&self, new: Self) -> (Self, Vec<&'static str>) {
        // Every field is named, so that for a new one it has to be decided.
        let Self {
            name,
            runtime_dir,
            single,
            workers,
            threads,
            listen,
            strategy,
            weights,
            children,
            umask,
            pass_fds,
            agent_start_timeout,
            worker_start_timeout,
            pre_stop_delay,
            drain_timeout,
            lame_duck,
            orphan_grace,
            master_timeout,
            worker_timeout,
            recycle,
            surge,
            exit_on_crash_loop,
            http,
            messages,
            fleet,
            program,
            section,
            on_master_death,
            log_format,
            log_level,
            events,
            pid_file,
        } = new;
        let changes = [
            ("name", name != self.name),
            ("runtime_dir", runtime_dir != self.runtime_dir),
            ("single", single != self.single),
            ("listen", listen != self.listen),
            (
                "strategy",
                // Nobody may have said it: it goes with `single`.
                strategy != self.strategy && single == self.single,
            ),
            ("user", children.run_as.user != self.children.run_as.user),
            ("group", children.run_as.group != self.children.run_as.group),
            ("nice", children.nice != self.children.nice),
            (
                "cpu_affinity",
                children.cpu_affinity != self.children.cpu_affinity,
            ),
            (
                "cpu_scheduling",
                children.cpu_scheduling != self.children.cpu_scheduling,
            ),
            ("umask", umask != self.umask),
            ("pass_fds", pass_fds != self.pass_fds),
            (
                "max_message",
                messages.max_message != self.messages.max_message,
            ),
            ("message_queue", messages.window != self.messages.window),
            ("fleet", fleet != self.fleet),
            ("log_format", log_format != self.log_format),
            ("events", events != self.events),
            ("pid_file", pid_file != self.pid_file),
        ];
        let fixed = changes.into_iter().filter(|(_, changed)| *changed);
        let config = Self {
            // The one of `single` is not meant for many processes.
            workers: if single == self.single {
                workers
            } else {
                self.workers
            },
            threads,
            weights,
            agent_start_timeout,
            worker_start_timeout,
            pre_stop_delay,
            drain_timeout,
            lame_duck,
            orphan_grace,
            master_timeout,
            worker_timeout,
            recycle,
            surge,
            exit_on_crash_loop,
            http,
            program,
            section,
            on_master_death,
            log_level,
            ..self.clone()
        };
        (config, fixed.map(|(name, _)| name).collect())
    }
}
