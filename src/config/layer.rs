//! What one source says: every setting, each said or not.

use std::path::PathBuf;
use std::time::Duration;

use hatchery_master::{CpuAffinity, CpuScheduling, Listen, Strategy};
#[cfg(feature = "program")]
use hatchery_protocol::boot::Readiness;
use hatchery_protocol::boot::{LogFormat, OnMasterDeath};

#[cfg(feature = "fleet")]
use super::fleet::{self, FleetAddress};
#[cfg(feature = "program")]
use super::program::{self, StopSignal, Variable};
use super::value::{self, Size, Umask, Workers};

/// The settings that one source gives. Flags, variables and the file all become one of these.
///
/// The order here is the order of `--help` and of `print-config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Layer {
    /// How many workers: a number from 1 to 1024, or auto for one per usable CPU [default: auto]
    ///
    /// With auto, affinity, cpuset and the control group's quota count, the latter rounded up, at the start and again at each
    /// reload; with --single it is 1. Where HATCHERY_WORKERS is not set, WEB_CONCURRENCY counts in its place.
    #[arg(long, value_name = "N|auto", value_parser = value::workers)]
    pub(crate) workers: Option<Workers>,

    /// Run agent and one worker inside of the master's process, where nobody is replaced: for tests and small
    /// machines [default: false]
    ///
    /// --single=false overrides the file or the environment.
    #[arg(
        long,
        value_name = "BOOL",
        value_parser = value::switch,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) single: Option<bool>,

    /// Threads of each worker's runtime, from 1 to 1024 [default: 1]
    #[arg(long, value_name = "N", value_parser = value::threads)]
    pub(crate) threads: Option<u32>,

    /// An address to serve; may be given several times. Forms: 127.0.0.1:7001, [::1]:7001, unix:/path,
    /// udp:127.0.0.1:5353, systemd. Options go behind it, as in 127.0.0.1:7001?strategy=shared&backlog=512
    /// [default: 127.0.0.1:7001]
    ///
    /// In the environment several stand with commas between, in the file in an array.
    #[arg(long, value_name = "ADDR", value_parser = value::listen)]
    pub(crate) listen: Option<Vec<Listen>>,

    /// Short for --listen 127.0.0.1:P
    ///
    /// One source gives --port or --listen, not both.
    #[arg(long, value_name = "P", value_parser = value::port, conflicts_with = "listen")]
    pub(crate) port: Option<u16>,

    /// How connections are shared among workers: round-robin (or rr), least-connections, weighted, ip-hash,
    /// shared (or none), reuse-port [default: round-robin]
    ///
    /// With --single the default is shared.
    #[arg(long, value_name = "NAME", value_parser = value::strategy)]
    pub(crate) strategy: Option<Strategy>,

    /// How much each slot gets with the strategy weighted, as in 3,1: slot 0 three times as much as slot 1;
    /// slots without one have 1
    ///
    /// From 1 to 1000 each.
    #[arg(long, value_name = "N", value_parser = value::weight, value_delimiter = ',')]
    pub(crate) weights: Option<Vec<u32>>,

    /// Whose processes agent and workers are, by name or number; the master stays root, and can bind any port
    /// [default: who starts it]
    #[arg(long, value_name = "NAME", value_parser = value::account)]
    pub(crate) user: Option<String>,

    /// Their group, by name or number [default: that of --user]
    #[arg(long, value_name = "NAME", value_parser = value::account)]
    pub(crate) group: Option<String>,

    /// Which permissions new files of master, agent and workers lack, octal, as in 027 [default: as inherited]
    ///
    /// In the file a string.
    #[arg(long, value_name = "MASK", value_parser = value::umask)]
    pub(crate) umask: Option<Umask>,

    /// How urgent agent and workers are: -20 (the most) to 19 (the least) [default: as the master]
    #[arg(long, value_name = "N", value_parser = value::nice, allow_negative_numbers = true)]
    pub(crate) nice: Option<i32>,

    /// Which CPUs each slot has: auto (in turn, one for each thread), or sets for the slots in turn, as in
    /// 0;1;2-3 [default: all CPUs]
    #[arg(long, value_name = "auto|SETS", value_parser = value::cpu_affinity)]
    pub(crate) cpu_affinity: Option<CpuAffinity>,

    /// Whether workers interrupt what runs when they wake up: batch (no), or inherit (as the master)
    /// [default: batch]
    #[arg(long, value_name = "POLICY", value_parser = value::cpu_scheduling)]
    pub(crate) cpu_scheduling: Option<CpuScheduling>,

    /// Descriptors that agent and workers inherit from who starts the master, as in 5,6; all others are closed
    /// for them
    #[arg(long, value_name = "N", value_parser = value::descriptor, value_delimiter = ',')]
    pub(crate) pass_fds: Option<Vec<i32>>,

    /// Run in the background; returns when the application is ready [default: false]
    ///
    /// If it is not, the command says why. --daemon=false overrides the file or the environment.
    #[arg(
        long,
        value_name = "BOOL",
        value_parser = value::switch,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) daemon: Option<bool>,

    /// The application's name: names the runtime directory and stands in logs [default: as it was built]
    ///
    /// 1 to 64 characters out of A-Z a-z 0-9 . _ -. Two applications of one name cannot run side by side in the same
    /// runtime directory.
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    pub(crate) name: Option<String>,

    /// Where the control socket and the lock are [default: depends on the name]
    ///
    /// The list of its processes is there, too. It is used exactly as given.
    #[arg(long, value_name = "DIR", value_parser = value::path)]
    pub(crate) runtime_dir: Option<PathBuf>,

    /// Write the master's process id here
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub(crate) pid_file: Option<PathBuf>,

    /// Append lifecycle events here, one JSON object a line
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub(crate) events: Option<PathBuf>,

    /// How log lines look: text or json [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = value::log_format)]
    pub(crate) log_format: Option<LogFormat>,

    /// Append everything that master, agent and workers print here instead of on the terminal
    ///
    /// It is made with mode 0640. A daemon without it writes daemon.log in the runtime directory.
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub(crate) log_file: Option<PathBuf>,

    /// What is logged: off, error, warn, info, debug, trace, or a filter like info,my_app=debug
    /// [default: info]
    #[arg(long, value_name = "FILTER", value_parser = value::log_level)]
    pub(crate) log_level: Option<String>,

    /// How long `Agent::start` may take, more than zero [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = value::timeout)]
    pub(crate) agent_start_timeout: Option<Duration>,

    /// How long `Worker::start` may take, more than zero [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = value::timeout)]
    pub(crate) worker_start_timeout: Option<Duration>,

    /// How long to accept and serve on after a stop was announced, so that load balancers can turn away
    /// [default: 0s]
    ///
    /// It is not part of --drain-timeout.
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(crate) pre_stop_delay: Option<Duration>,

    /// How long a stop may take before what is left is cut off [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(crate) drain_timeout: Option<Duration>,

    /// How long a leaving worker keeps answering on open connections, asking clients to go [default: 2s]
    ///
    /// It is part of --drain-timeout.
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(crate) lame_duck: Option<Duration>,

    /// How long agent and workers may go on without their master [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(crate) orphan_grace: Option<Duration>,

    /// After how much silence the master counts as lost; at least 2s [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = value::master_timeout)]
    pub(crate) master_timeout: Option<Duration>,

    /// How long the runtime of a worker or of the agent may stand still before the process is killed and
    /// replaced; at least 3s, or 0s for never [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = value::worker_timeout)]
    pub(crate) worker_timeout: Option<Duration>,

    /// After how many requests a worker is replaced; 0 is never [default: 0]
    #[arg(long, value_name = "N", value_parser = value::count_of_requests)]
    pub(crate) max_requests: Option<u64>,

    /// How long a worker may serve before it is replaced; 0s is for ever [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(crate) max_lifetime: Option<Duration>,

    /// How much memory a worker may have before it is replaced; 0B is no limit [default: 0B]
    ///
    /// At least 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = value::memory)]
    pub(crate) max_memory: Option<Size>,

    /// How much memory a worker may have before it is killed; 0B is no limit [default: 0B]
    ///
    /// More than --max-memory.
    #[arg(long, value_name = "SIZE", value_parser = value::memory)]
    pub(crate) max_memory_hard: Option<Size>,

    /// By up to how many per cent a worker's own limits of requests and lifetime lie below these, from 0 to 90
    /// [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = value::jitter)]
    pub(crate) recycle_jitter: Option<u32>,

    /// How many workers a reload replaces at once, after the first: 1 to 1024 [default: 1]
    ///
    /// Never more boot at once than there are CPUs to use.
    #[arg(long, value_name = "N", value_parser = value::surge)]
    pub(crate) surge: Option<u32>,

    /// End the whole application, with code 3, when a process dies again and again [default: false]
    ///
    /// In order, when an agent or a worker has died three times in a row.
    #[arg(
        long,
        value_name = "BOOL",
        value_parser = value::switch,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) exit_on_crash_loop: Option<bool>,

    /// How long a client may take to send a request's header, more than zero [default: 30s]
    ///
    /// The first from when it connects, a later one from its first byte.
    #[arg(long, value_name = "TIME", value_parser = value::timeout)]
    pub(crate) header_timeout: Option<Duration>,

    /// How long a connection may be open without a request, more than zero [default: 75s]
    ///
    /// An HTTP/2 client is told with a GOAWAY. Behind a proxy that keeps idle connections, set it above the proxy's time
    /// (nginx: 60 s), or the proxy meets a close with a request.
    #[arg(long, value_name = "TIME", value_parser = value::timeout)]
    pub(crate) idle_timeout: Option<Duration>,

    /// How much a request's header may hold: 8KiB to 16MiB [default: 64KiB]
    ///
    /// More is answered with 431.
    #[arg(long, value_name = "SIZE", value_parser = value::header_size)]
    pub(crate) max_header_size: Option<Size>,

    /// How many connections a worker may have open; 0 is no limit [default: 0]
    ///
    /// A full worker accepts nothing: clients go to another worker or wait in the kernel's queue.
    #[arg(long, value_name = "N", value_parser = value::limit)]
    pub(crate) max_connections: Option<u32>,

    /// How many requests a connection may bring; 0 is no limit [default: 0]
    ///
    /// Then it is closed, in order: with `Connection: close` or a GOAWAY. It makes long-lived clients spread again.
    #[arg(long, value_name = "N", value_parser = value::limit)]
    pub(crate) max_requests_per_connection: Option<u32>,

    /// How large a message between processes may be: 64KiB to 256MiB [default: 1MiB]
    ///
    /// Changing it needs a restart.
    #[arg(long, value_name = "SIZE", value_parser = value::message_size)]
    pub(crate) max_message: Option<Size>,

    /// How much may be under way from one process to another: 64KiB to 256MiB [default: 1MiB]
    ///
    /// The sender of more is told `Full`. Changing it needs a restart.
    #[arg(long, value_name = "SIZE", value_parser = value::message_size)]
    pub(crate) message_queue: Option<Size>,

    /// Where the hosts that run this application meet: the address of a Redis server, as in redis://host:6379;
    /// rediss://host:6379 with TLS; never with a password [default: this host is on its own]
    ///
    /// Redis 6 or later. redis+unix:///path is a server on this host. What is a setting is shown, so no user and no password
    /// may be in it.
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "URL", value_parser = fleet::address)]
    pub(crate) fleet: Option<FleetAddress>,

    /// Who to be there [default: Redis's default user]
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "NAME", value_parser = fleet::user)]
    pub(crate) fleet_user: Option<String>,

    /// The file that holds the password [default: HATCHERY_FLEET_PASSWORD, if set]
    ///
    /// It has to be readable for the agent's user (--user).
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub(crate) fleet_password_file: Option<PathBuf>,

    /// Which authorities may vouch for the server, as PEM [default: those of the system]
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub(crate) fleet_ca_file: Option<PathBuf>,

    /// How long a lease lasts without a word of its holder's, the same on all hosts: 1s to 5m [default: 15s]
    #[cfg(feature = "fleet")]
    #[arg(long, value_name = "TIME", value_parser = fleet::lease)]
    pub(crate) fleet_lease: Option<Duration>,

    /// A word of the command that each worker runs, given once for each: short is to write the command behind --
    ///
    /// The variable holds one word, which is a program without arguments. A name without a slash is looked up in PATH. No shell
    /// is involved; for one, write -- sh -c '...' and begin the line with exec.
    #[cfg(feature = "program")]
    #[arg(long, value_name = "WORD", value_parser = program::word, allow_hyphen_values = true)]
    pub(crate) program: Option<Vec<String>>,

    /// Where the program is run [default: the current directory]
    #[cfg(feature = "program")]
    #[arg(long, value_name = "DIR", value_parser = value::path)]
    pub(crate) program_dir: Option<PathBuf>,

    /// A variable of the program's environment, as in PORT=80; may be given several times
    ///
    /// The variable holds one.
    #[cfg(feature = "program")]
    #[arg(long, value_name = "NAME=VALUE", value_parser = program::variable)]
    pub(crate) program_env: Option<Vec<Variable>>,

    /// When the program counts as ready, if it does not say so itself: accept (somebody accepts at every address),
    /// alive (it is still there after --program-settle), or notify (only when it says READY=1) [default: accept]
    #[cfg(feature = "program")]
    #[arg(long, value_name = "WHEN", value_parser = program::readiness)]
    pub(crate) program_ready: Option<Readiness>,

    /// How long the program has to live before it counts as ready without having said so [default: 1s]
    #[cfg(feature = "program")]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub(crate) program_settle: Option<Duration>,

    /// The signal that asks the program to finish and leave [default: SIGTERM]
    #[cfg(feature = "program")]
    #[arg(long, value_name = "SIGNAL", value_parser = program::stop_signal)]
    pub(crate) program_stop_signal: Option<StopSignal>,

    /// What agent and workers do when the master dies: drain or kill [default: drain]
    ///
    /// With drain they may finish within --orphan-grace; with kill the kernel ends them at once.
    #[arg(long, value_name = "ACTION", value_parser = value::on_master_death)]
    pub(crate) on_master_death: Option<OnMasterDeath>,
}
