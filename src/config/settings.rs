//! What holds in the end: defaults filled in, paths made absolute.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hatchery_master::{Address, ChildAttributes, Config, Recycle, RunAs, Strategy, Weights};
use hatchery_protocol::boot::HttpLimits;
use hatchery_protocol::post::Limits;
use hatchery_protocol::section::Section;

use super::layer::Layer;
use super::source::Source;
use super::value::{Size, Umask, Workers};

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What the master is told.
    pub(crate) config: Config,
    /// What is done before there is a master.
    pub(crate) front: Front,
    /// Where each value came from; absent: from the defaults.
    pub(crate) sources: BTreeMap<&'static str, Source>,
    /// Whether the number of workers was counted from the CPUs.
    pub(crate) automatic: bool,
}

/// The settings that the command handles itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Front {
    /// Run in the background.
    pub(crate) daemon: bool,
    /// Where standard output and standard error go.
    pub(crate) log_file: Option<PathBuf>,
}

/// In bytes. The parser has seen to it that it is not too large.
fn bytes(said: Option<Size>, default: u32) -> u32 {
    said.map_or(default, |size| u32::try_from(size.0).unwrap_or(u32::MAX))
}

impl Settings {
    /// Fills in the defaults. `app` is the name the program was built with.
    pub(crate) fn new(
        layer: Layer,
        sources: BTreeMap<&'static str, Source>,
        section: Option<Section>,
        app: &str,
        cwd: &Path,
    ) -> Self {
        let absolute = |path: Option<PathBuf>| path.map(|path| cwd.join(path));
        let seconds =
            |value: Option<Duration>, default| value.unwrap_or(Duration::from_secs(default));
        #[cfg(feature = "fleet")]
        let fleet = super::fleet::boot(&layer, cwd);
        #[cfg(not(feature = "fleet"))]
        let fleet = None;
        #[cfg(feature = "program")]
        let (program, app) = (
            super::program::boot(&layer, cwd),
            super::program::name_of(&layer).unwrap_or_else(|| app.to_owned()),
        );
        #[cfg(not(feature = "program"))]
        let (program, app) = (None, app.to_owned());
        let single = layer.single.unwrap_or(false);
        // A program accepts by itself, and so does a worker that is the only one.
        let strategy = if program.is_some() || single {
            Strategy::SHARED
        } else {
            Strategy::default()
        };
        let workers = super::single::workers(single, layer.workers);
        let name = layer.name.unwrap_or(app);
        let config = Config {
            runtime_dir: absolute(layer.runtime_dir)
                .unwrap_or_else(|| hatchery_master::default_runtime_dir(&name)),
            name,
            single,
            workers: workers.count(),
            threads: layer.threads.unwrap_or(1),
            listen: layer
                .listen
                .unwrap_or_else(|| vec![Address::DEFAULT.into()])
                .into_iter()
                .map(|mut listen| {
                    listen.opening.cert = absolute(listen.opening.cert);
                    listen.opening.key = absolute(listen.opening.key);
                    listen
                })
                .collect(),
            strategy: layer.strategy.unwrap_or(strategy),
            weights: Weights(layer.weights.unwrap_or_default()),
            children: ChildAttributes {
                run_as: RunAs {
                    user: layer.user,
                    group: layer.group,
                },
                nice: layer.nice,
                cpu_affinity: layer.cpu_affinity,
                cpu_scheduling: layer.cpu_scheduling.unwrap_or_default(),
            },
            umask: layer.umask.map(|umask| umask.0),
            pass_fds: layer.pass_fds.unwrap_or_default(),
            agent_start_timeout: seconds(layer.agent_start_timeout, 60),
            worker_start_timeout: seconds(layer.worker_start_timeout, 60),
            pre_stop_delay: seconds(layer.pre_stop_delay, 0),
            drain_timeout: seconds(layer.drain_timeout, 30),
            lame_duck: seconds(layer.lame_duck, 2),
            orphan_grace: seconds(layer.orphan_grace, 5),
            master_timeout: seconds(layer.master_timeout, 15),
            worker_timeout: seconds(layer.worker_timeout, 30),
            recycle: Recycle {
                max_requests: layer.max_requests.unwrap_or(0),
                max_lifetime: seconds(layer.max_lifetime, 0),
                max_memory: layer.max_memory.map_or(0, |size| size.0),
                kill_memory: layer.max_memory_hard.map_or(0, |size| size.0),
                jitter_percent: layer.recycle_jitter.unwrap_or(10),
            },
            surge: layer.surge.unwrap_or(1),
            exit_on_crash_loop: layer.exit_on_crash_loop.unwrap_or(false),
            http: HttpLimits {
                header_timeout: seconds(layer.header_timeout, 30),
                idle_timeout: seconds(layer.idle_timeout, 75),
                max_header_size: bytes(layer.max_header_size, 64 * 1024),
                max_connections: layer.max_connections.unwrap_or(0),
                max_requests_per_connection: layer.max_requests_per_connection.unwrap_or(0),
            },
            messages: Limits {
                max_message: bytes(layer.max_message, Limits::default().max_message),
                window: bytes(layer.message_queue, Limits::default().window),
            },
            fleet,
            program,
            section,
            on_master_death: layer.on_master_death.unwrap_or_default(),
            log_format: layer.log_format.unwrap_or_default(),
            log_level: layer.log_level.unwrap_or_else(|| "info".to_owned()),
            events: absolute(layer.events),
            pid_file: absolute(layer.pid_file),
        };
        let front = Front {
            daemon: layer.daemon.unwrap_or(false),
            log_file: absolute(layer.log_file),
        };
        Self {
            config,
            front,
            sources,
            automatic: workers == Workers::Auto,
        }
    }

    /// Everything said, as one source would say it.
    pub(crate) fn to_layer(&self) -> Layer {
        #[cfg_attr(
            not(any(feature = "fleet", feature = "program")),
            expect(unused_mut, reason = "it is changed with the features")
        )]
        let mut layer = self.without_features();
        #[cfg(feature = "fleet")]
        super::fleet::tell(self.config.fleet.as_ref(), &mut layer);
        #[cfg(feature = "program")]
        super::program::tell(self.config.program.as_ref(), &mut layer);
        layer
    }

    #[expect(clippy::too_many_lines, reason = "a line for each setting")]
    fn without_features(&self) -> Layer {
        let Config {
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
            fleet: _,
            program: _,
            // Not a setting, and shown by nobody.
            section: _,
            on_master_death,
            log_format,
            log_level,
            events,
            pid_file,
        } = self.config.clone();
        Layer {
            workers: Some(Workers::Count(workers)),
            single: Some(single),
            threads: Some(threads),
            listen: Some(listen),
            port: None,
            strategy: Some(strategy),
            weights: Some(weights.0).filter(|weights| !weights.is_empty()),
            user: children.run_as.user,
            group: children.run_as.group,
            umask: umask.map(Umask),
            nice: children.nice,
            cpu_affinity: children.cpu_affinity,
            cpu_scheduling: Some(children.cpu_scheduling),
            pass_fds: Some(pass_fds).filter(|fds| !fds.is_empty()),
            daemon: Some(self.front.daemon),
            name: Some(name),
            runtime_dir: Some(runtime_dir),
            pid_file,
            events,
            log_format: Some(log_format),
            log_file: self.front.log_file.clone(),
            log_level: Some(log_level),
            agent_start_timeout: Some(agent_start_timeout),
            worker_start_timeout: Some(worker_start_timeout),
            pre_stop_delay: Some(pre_stop_delay),
            drain_timeout: Some(drain_timeout),
            lame_duck: Some(lame_duck),
            orphan_grace: Some(orphan_grace),
            master_timeout: Some(master_timeout),
            worker_timeout: Some(worker_timeout),
            max_requests: Some(recycle.max_requests),
            max_lifetime: Some(recycle.max_lifetime),
            max_memory: Some(Size(recycle.max_memory)),
            max_memory_hard: Some(Size(recycle.kill_memory)),
            recycle_jitter: Some(recycle.jitter_percent),
            surge: Some(surge),
            exit_on_crash_loop: Some(exit_on_crash_loop),
            header_timeout: Some(http.header_timeout),
            idle_timeout: Some(http.idle_timeout),
            max_header_size: Some(Size(http.max_header_size.into())),
            max_connections: Some(http.max_connections),
            max_requests_per_connection: Some(http.max_requests_per_connection),
            max_message: Some(Size(messages.max_message.into())),
            message_queue: Some(Size(messages.window.into())),
            on_master_death: Some(on_master_death),
            #[cfg(feature = "fleet")]
            fleet: None,
            #[cfg(feature = "fleet")]
            fleet_user: None,
            #[cfg(feature = "fleet")]
            fleet_password_file: None,
            #[cfg(feature = "fleet")]
            fleet_ca_file: None,
            #[cfg(feature = "fleet")]
            fleet_lease: None,
            #[cfg(feature = "program")]
            program: None,
            #[cfg(feature = "program")]
            program_dir: None,
            #[cfg(feature = "program")]
            program_env: None,
            #[cfg(feature = "program")]
            program_ready: None,
            #[cfg(feature = "program")]
            program_settle: None,
            #[cfg(feature = "program")]
            program_stop_signal: None,
        }
    }
}
