//! The service unit.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use hatchery_master::{Address, Config, Listen};

use super::Application;
use super::command_line::{CommandLine, path, quoted};

/// What a start may take beyond the time that agent and workers have.
const START_MARGIN: Duration = Duration::from_secs(10);
/// After how much silence a service counts as dead. Longer than the cluster takes to help itself.
const WATCHDOG: &str = "60s";

/// What root gives up but for what it is root for: to become others, to end them, to own files and ports.
const OF_ROOT: &str = "CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_NET_BIND_SERVICE CAP_SYS_NICE";

pub(super) fn text(
    application: &Application<'_>,
    command: &CommandLine,
    listen: &[Listen],
    sockets: bool,
) -> String {
    let config = &application.settings.config;
    let mut out = String::new();
    // A String takes every write.
    let _ = write_unit(&mut out, application, command, listen, sockets, config);
    out
}

fn write_unit(
    out: &mut String,
    application: &Application<'_>,
    command: &CommandLine,
    listen: &[Listen],
    sockets: bool,
    config: &Config,
) -> std::fmt::Result {
    let name = &config.name;
    writeln!(out, "[Unit]\nDescription={}", name.replace('%', "%%"))?;
    writeln!(
        out,
        "Wants=network-online.target\nAfter=network-online.target"
    )?;
    if sockets {
        writeln!(out, "Requires={name}.socket\nAfter={name}.socket")?;
    }
    writeln!(
        out,
        "# A start that fails is tried again, however often.\nStartLimitIntervalSec=0\n"
    )?;

    let of_reload = if config.single {
        ""
    } else {
        " `reload` ends with the truth, which a signal would not."
    };
    writeln!(out, "[Service]\n# Ready when every worker is.{of_reload}")?;
    writeln!(
        out,
        "Type=notify\n# The master alone speaks for the service, and names its successor in an upgrade."
    )?;
    writeln!(out, "NotifyAccess=main\nExecStart={}", command.start())?;
    if !config.single {
        writeln!(out, "ExecReload={}", command.verb("reload"))?;
    }
    let start = config.agent_start_timeout + config.worker_start_timeout + START_MARGIN;
    writeln!(
        out,
        "# --agent-start-timeout and --worker-start-timeout, and a little more.\nTimeoutStartSec={}",
        seconds(start)
    )?;
    writeln!(
        out,
        "# --pre-stop-delay, --drain-timeout, and what the master takes to end what is left.\nTimeoutStopSec={}",
        seconds(config.longest_stop())
    )?;
    writeln!(
        out,
        "# The master gets the signal and leads; what is left in the end is killed.\nKillMode=mixed"
    )?;
    writeln!(
        out,
        "# Fed while at least one worker lives.\nWatchdogSec={WATCHDOG}\nRestart=on-failure\nRestartSec=1s"
    )?;
    writeln!(
        out,
        "# A command line or a configuration does not become better by itself.\nRestartPreventExitStatus=2 4"
    )?;
    writeln!(
        out,
        "# A worker that is killed for want of memory is replaced; it is no reason to stop the others.\nOOMPolicy=continue"
    )?;
    if let Some(nice) = config.children.nice.filter(|nice| *nice < 0) {
        writeln!(out, "LimitNICE={nice}")?;
    }
    write_rights(out, application, command, listen)
}

/// Whose service it is, and what it may do.
fn write_rights(
    out: &mut String,
    application: &Application<'_>,
    command: &CommandLine,
    listen: &[Listen],
) -> std::fmt::Result {
    let config = &application.settings.config;
    let run_as = &config.children.run_as;
    writeln!(out)?;
    if run_as.user.is_some() || run_as.group.is_some() {
        writeln!(
            out,
            "# The master is root; agent and workers are not (--user, --group).\nCapabilityBoundingSet={OF_ROOT}"
        )?;
    } else {
        writeln!(
            out,
            "# A user that exists while the service runs. `User=` names one that always does.\nDynamicUser=yes"
        )?;
        if listen.iter().any(is_privileged) {
            writeln!(
                out,
                "# For a port below 1024. With --sockets nobody needs it."
            )?;
            writeln!(
                out,
                "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE"
            )?;
        } else {
            writeln!(out, "CapabilityBoundingSet=")?;
        }
    }
    if let Some(directory) = &command.runtime_directory {
        writeln!(
            out,
            "RuntimeDirectory={directory}\nRuntimeDirectoryMode=0700"
        )?;
    }
    for place in written(application, command, listen) {
        writeln!(out, "ReadWritePaths={}", quoted(&place))?;
    }
    out.write_str(
        "NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
",
    )
}

fn is_privileged(listen: &Listen) -> bool {
    match &listen.address {
        Address::Tcp(address) | Address::Udp(address) => (1..1024).contains(&address.port()),
        Address::Unix(_) | Address::Systemd(_) => false,
    }
}

/// Directories that the master makes files in.
fn written(
    application: &Application<'_>,
    command: &CommandLine,
    listen: &[Listen],
) -> BTreeSet<String> {
    let config = &application.settings.config;
    let files = [
        &config.events,
        &config.pid_file,
        &application.settings.front.log_file,
    ];
    let sockets = listen.iter().filter_map(|listen| match &listen.address {
        Address::Unix(path) => Some(path.as_path()),
        Address::Tcp(_) | Address::Udp(_) | Address::Systemd(_) => None,
    });
    let parents = files
        .into_iter()
        .filter_map(|path| path.as_deref())
        .chain(sockets)
        .filter_map(Path::parent);
    let own = command
        .runtime_directory
        .is_none()
        .then_some(config.runtime_dir.as_path());
    parents.chain(own).map(path).collect()
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
