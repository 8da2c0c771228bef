//! The command line, as data.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use hatchery_protocol::control::Scale;

use crate::app::{App, OwnCommand};
use crate::config::{self, Layer};

/// What an operator asks. Without a verb it is `start`, and its flags may stand alone.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,

    #[command(flatten)]
    pub(super) start: Sources,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the application until it is stopped (the default)
    #[cfg_attr(feature = "program", command(visible_alias = "run"))]
    Start(Box<Sources>),
    /// Stop the running application in order, and wait until it is gone
    Stop {
        #[command(flatten)]
        target: Target,
        /// How long to wait for it
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = config::timeout_value)]
        timeout: Duration,
    },
    /// Replace all workers, one after the other, by what is on disk now: executable and configuration
    Reload {
        #[command(flatten)]
        target: Target,
        /// Replace the agent, too
        #[arg(long)]
        agent: bool,
        /// How long to wait for the outcome; the reload goes on without its command [default: as it takes]
        #[arg(long, value_name = "TIME", value_parser = config::timeout_value)]
        timeout: Option<Duration>,
    },
    /// Change the number of workers
    Scale {
        #[command(flatten)]
        target: Target,
        /// To how many: a number from 1 to 1024, or +1, or -1
        #[arg(value_name = "N", value_parser = config::scale_value, allow_hyphen_values = true)]
        to: Scale,
        /// How long to wait for the outcome [default: as it takes]
        #[arg(long, value_name = "TIME", value_parser = config::timeout_value)]
        timeout: Option<Duration>,
    },
    /// Stop the application that runs in the background, and start it again as it was started
    Restart {
        #[command(flatten)]
        target: Target,
        /// How long to wait for its end
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = config::timeout_value)]
        timeout: Duration,
    },
    /// Let a new master, of the executable that is now on disk, take over from the running one
    Upgrade {
        #[command(flatten)]
        target: Target,
    },
    /// Show the running application
    Status {
        #[command(flatten)]
        target: Target,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what the running application does at certain times, and change that
    Schedule {
        #[command(subcommand)]
        action: ScheduleVerb,
    },
    /// Print the running application's metrics in Prometheus' text format
    Metrics {
        #[command(flatten)]
        target: Target,
    },
    /// Follow what happens in the running application
    Events {
        #[command(flatten)]
        target: Target,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Say what is wrong with the configuration, without starting anything
    Check(Box<Sources>),
    /// Print a systemd service, and the sockets it may begin with, for these settings
    SystemdUnit {
        #[command(flatten)]
        sources: Box<Sources>,
        /// Let systemd open the sockets
        #[arg(long)]
        sockets: bool,
        /// Write the files into this directory instead, if they are not there already
        #[arg(long, value_name = "DIR", value_parser = config::path_value)]
        output: Option<PathBuf>,
    },
    /// Show the effective configuration as TOML, and where each value comes from
    PrintConfig(Box<Sources>),
}

/// What can be done with schedules.
#[derive(Debug, Subcommand)]
pub(super) enum ScheduleVerb {
    /// Show all schedules, when they are due and how their last runs went
    List {
        #[command(flatten)]
        target: Target,
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Run one now, also one that is disabled, and wait for its end
    Run(OneSchedule),
    /// Let one run by itself
    Enable(OneSchedule),
    /// Do not let one run by itself, until it is enabled again; also not after a reload
    Disable(OneSchedule),
}

/// Which schedule is meant.
#[derive(Debug, Args)]
pub(super) struct OneSchedule {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE")]
    pub(super) schedule: String,
    #[command(flatten)]
    pub(super) target: Target,
}

/// The settings, as far as the command line gives them.
#[derive(Debug, Clone, Args)]
pub(super) struct Sources {
    #[command(flatten)]
    pub(super) flags: Layer,

    /// Read settings from this TOML file; environment and flags count more
    #[arg(long, value_name = "FILE", value_parser = config::path_value)]
    pub(super) config: Option<PathBuf>,

    /// The program that each worker runs, and its arguments
    #[cfg(feature = "program")]
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "program")]
    words: Vec<String>,
}

impl Sources {
    /// The words behind `--` are a setting like others.
    #[cfg(feature = "program")]
    fn settle_program(&mut self) {
        if !self.words.is_empty() {
            self.flags.program = Some(std::mem::take(&mut self.words));
        }
    }
}

/// Which running application is meant.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The name it was started with
    #[arg(long, visible_alias = "app", value_name = "NAME", value_parser = config::check_name)]
    pub(super) name: Option<String>,

    /// The runtime directory it was started with
    #[arg(long, value_name = "DIR", value_parser = config::path_value)]
    pub(super) runtime_dir: Option<PathBuf>,

    /// The configuration file it was started with
    #[arg(long, value_name = "FILE", value_parser = config::path_value)]
    pub(super) config: Option<PathBuf>,
}

impl Target {
    pub(super) fn into_sources(self) -> Sources {
        Sources {
            flags: Layer {
                name: self.name,
                runtime_dir: self.runtime_dir,
                ..Layer::default()
            },
            config: self.config,
            #[cfg(feature = "program")]
            words: Vec::new(),
        }
    }
}

/// Reads the command line of an application.
pub(super) fn parse(
    app: &App,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Cli, clap::Error> {
    let hatchery = concat!("hatchery ", env!("CARGO_PKG_VERSION"));
    let version = app.version.as_deref().map_or_else(
        || format!("({hatchery})"),
        |version| format!("{version} ({hatchery})"),
    );
    let matches = Cli::command()
        .name(app.name.clone())
        .version(version)
        .about(if app.keeps_program {
            "Runs any program that takes LISTEN_FDS as a master and workers: hatchery run -- ./server"
        } else {
            "An application run by hatchery as a master, an agent and workers"
        })
        .long_about(None)
        .after_help(further(&app.commands))
        .try_get_matches_from(arguments)?;
    #[cfg_attr(
        not(feature = "program"),
        expect(unused_mut, reason = "it is changed with the feature")
    )]
    let mut cli = Cli::from_arg_matches(&matches)?;
    #[cfg(feature = "program")]
    {
        cli.start.settle_program();
        if let Some(
            Verb::Start(sources)
            | Verb::Check(sources)
            | Verb::PrintConfig(sources)
            | Verb::SystemdUnit { sources, .. },
        ) = &mut cli.verb
        {
            sources.settle_program();
        }
    }
    Ok(cli)
}

/// The application's own commands, for `--help`.
fn further(commands: &[OwnCommand]) -> String {
    if commands.is_empty() {
        return String::new();
    }
    let lines = commands
        .iter()
        .map(|own| format!("  {:<13} {}", own.name, own.about));
    let lines: Vec<String> = std::iter::once("Further commands:".to_owned())
        .chain(lines)
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        let arguments = line.split(' ').filter(|word| !word.is_empty());
        parse(
            &App::new("app").version("1.2.3"),
            std::iter::once("app").chain(arguments).map(Into::into),
        )
    }

    /// The flags of `start`, with or without the verb.
    fn flags(line: &str) -> Layer {
        let cli = parsed(line).unwrap();
        match cli.verb {
            Some(Verb::Start(sources)) => sources.flags,
            None => cli.start.flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_page_has_every_verb() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
        let page = std::fs::read_to_string(path).unwrap();
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            let shown = [format!("| `myapp {name}"), format!("| `myapp [{name}]")];
            assert!(
                shown.iter().any(|row| page.contains(row)),
                "`{name}` is not in {path}"
            );
        }
    }

    #[test]
    fn start_is_the_default() {
        assert_eq!(flags(""), Layer::default());
        for line in [
            "--workers 2",
            "--workers=auto --daemon",
            "--listen 127.0.0.1:1 --listen [::1]:2",
            "--drain-timeout 1m --name x.y --log-level info,a=debug",
        ] {
            let spoken = flags(&format!("start {line}"));
            assert_eq!(spoken, flags(line));
            assert_ne!(spoken, Layer::default());
        }
        assert_eq!(
            flags("--listen 127.0.0.1:1 --listen [::1]:2")
                .listen
                .unwrap()
                .len(),
            2
        );
        assert_eq!(flags("--daemon").daemon, Some(true));
        assert_eq!(flags("--daemon=false").daemon, Some(false));
    }

    #[test]
    fn nonsense_is_a_usage_error_that_names_the_flag() {
        for (line, part) in [
            ("--workers 0", "--workers"),
            ("--workers many", "--workers"),
            ("--threads 0", "--threads"),
            ("--port 70000", "--port"),
            ("--port 1 --listen 127.0.0.1:2", "--listen"),
            ("--listen nowhere", "--listen"),
            ("--strategy fair", "--strategy"),
            ("--drain-timeout 30", "add a unit"),
            ("--header-timeout 0s", "--header-timeout"),
            ("--master-timeout 1s", "at least 2s"),
            ("--name a/b", "--name"),
            ("--log-format xml", "--log-format"),
            ("--log-level inof", "--log-level"),
            ("--on-master-death cry", "--on-master-death"),
            ("--daemon=maybe", "--daemon"),
            ("--runtime-dir=", "--runtime-dir"),
            ("--worker 2", "--workers"),
            ("dance", "dance"),
            ("--workers 2 status", "status"),
            ("status --workers 2", "--workers"),
            ("stop --timeout 0s", "--timeout"),
            ("scale", "<N>"),
            ("scale 0", "1 to 1024"),
            ("scale 1025", "1 to 1024"),
            ("scale +2", "+1"),
            ("scale many", "1 to 1024"),
            ("reload --timeout 0s", "--timeout"),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_scale_is_absolute_or_a_step() {
        for (line, expected) in [
            ("scale 4", Scale::Workers(4)),
            ("scale +1", Scale::OneMore),
            ("scale -1 --name other", Scale::OneLess),
        ] {
            let cli = parsed(line).unwrap();
            let Some(Verb::Scale { to, .. }) = cli.verb else {
                panic!("{cli:?}");
            };
            assert_eq!(to, expected, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["--help", "-h", "--version", "help", "stop --help"] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 0, "{line}");
        }
        let version = parsed("--version").unwrap_err().to_string();
        assert!(version.starts_with("app 1.2.3 (hatchery "), "{version}");
    }

    #[test]
    fn commands_of_its_own_stand_in_the_help() {
        let app = App::new("app").command("migrate", "Bring it up to date", |_| 0.into());
        let help = parse(&app, ["app", "--help"].map(Into::into)).unwrap_err();
        let help = help.to_string();
        assert!(
            help.contains("Further commands:\n  migrate       Bring it up to date"),
            "{help}"
        );
    }

    #[cfg(feature = "program")]
    #[test]
    fn words_behind_the_dashes_are_the_program() {
        for line in [
            "run --workers 2 -- ./server --listen x",
            "start --workers 2 -- ./server --listen x",
            "--workers 2 -- ./server --listen x",
            "--workers 2 --program ./server --program --listen --program x",
        ] {
            let words = flags(line).program.unwrap();
            assert_eq!(words, ["./server", "--listen", "x"], "{line}");
        }
        let error = parsed("run ./server").unwrap_err().to_string();
        assert!(
            error.contains("'./server'") && error.contains("[-- <COMMAND>...]"),
            "{error}"
        );
        let error = parsed("run --program a -- b").unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn commands_that_ask_a_running_application_say_which() {
        let cli = parsed("status --json --name other --runtime-dir /run/x").unwrap();
        let Some(Verb::Status { target, json: true }) = cli.verb else {
            panic!("{cli:?}");
        };
        let sources = target.into_sources();
        assert_eq!(sources.flags.name.as_deref(), Some("other"));
        assert_eq!(sources.flags.runtime_dir, Some("/run/x".into()));
    }
}
