//! The commands: `myapp start | stop | reload | scale | restart | upgrade | status | schedule | events | check | print-config | systemd-unit`.

mod args;
mod client;
mod events;
mod front;
mod metrics;
#[cfg(test)]
mod reference;
mod restart;
mod rollout;
pub(crate) mod say;
mod schedule;
mod start;
mod status;
mod stop;
mod table;
mod units;

use std::path::PathBuf;

use hatchery_master::StartedBy;
use hatchery_protocol::control::Request;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::schedule::Command;
use hatchery_protocol::section::Section;

use crate::app::App;
use crate::config::{self, ConfigError, Inputs, Settings};
use crate::single::Parts;
use args::{ScheduleVerb, Sources, Target, Verb};
use client::Client;

/// Does what the command line asks. `started_by` counts for `start`, and tells that this process is to become
/// the master itself, which takes agent and worker out of the application.
pub(crate) fn run(app: &mut App, started_by: StartedBy) -> Exit {
    let cli = match args::parse(app, std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way, too.
            let _ = error.print();
            return if error.exit_code() == 0 {
                Exit::Orderly
            } else {
                Exit::Usage
            };
        }
    };
    let result = match cli.verb {
        None => start(app, cli.start, started_by),
        Some(Verb::Start(sources)) => start(app, *sources, started_by),
        Some(Verb::Check(sources)) => check(app, *sources),
        Some(Verb::PrintConfig(sources)) => print_config(app, *sources),
        Some(Verb::SystemdUnit {
            sources,
            sockets,
            output,
        }) => systemd_unit((&*app).into(), *sources, sockets, output),
        Some(Verb::Stop { target, timeout }) => {
            reach(app, target).and_then(|client| stop::run(&client, timeout))
        }
        Some(Verb::Reload {
            target,
            agent,
            timeout,
        }) => {
            let request = Request::Reload { agent };
            reach(app, target).and_then(|client| rollout::run(&client, &request, timeout))
        }
        Some(Verb::Scale {
            target,
            to,
            timeout,
        }) => {
            let request = Request::Scale { to };
            reach(app, target).and_then(|client| rollout::run(&client, &request, timeout))
        }
        Some(Verb::Restart { target, timeout }) => {
            reach(app, target).and_then(|client| restart::run(&client, timeout))
        }
        Some(Verb::Upgrade { target }) => {
            reach(app, target).and_then(|client| rollout::run(&client, &Request::Upgrade, None))
        }
        Some(Verb::Status { target, json }) => {
            reach(app, target).and_then(|client| status::run(&client, json))
        }
        Some(Verb::Schedule { action }) => schedule(app, action),
        Some(Verb::Metrics { target }) => {
            reach(app, target).and_then(|client| metrics::run(&client))
        }
        Some(Verb::Events { target, json }) => {
            reach(app, target).and_then(|client| events::run(&client, json))
        }
    };
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            failure.sentences.iter().for_each(say::error);
            failure.exit
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    sentences: Vec<String>,
}

impl Failure {
    fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentences: vec![sentence.into()],
        }
    }
}

/// What a command comes to.
type Outcome = Result<Exit, Failure>;

fn start(app: &mut App, sources: Sources, started_by: StartedBy) -> Outcome {
    if app.worker.is_none() && !app.keeps_program {
        return Err(Failure::new(
            Exit::Usage,
            "this application has no worker: give it one with App::worker",
        ));
    }
    let parts = Parts::of(app);
    let kind = Kind::from(&*app);
    let settings = checked(kind, sources.clone())?;
    fits(app, &settings)?;
    reached(&settings)?;
    start::run(kind, parts, sources, settings, started_by)
}

fn schedule(app: &App, verb: ScheduleVerb) -> Outcome {
    let (which, command) = match verb {
        ScheduleVerb::List { target, json } => {
            return reach(app, target).and_then(|client| schedule::list(&client, json));
        }
        ScheduleVerb::Run(which) => (which, Command::Run),
        ScheduleVerb::Enable(which) => (which, Command::Enable),
        ScheduleVerb::Disable(which) => (which, Command::Disable),
    };
    reach(app, which.target).and_then(|client| schedule::command(&client, which.schedule, command))
}

fn check(app: &App, sources: Sources) -> Outcome {
    let settings = checked(app.into(), sources)?;
    fits(app, &settings)?;
    reached(&settings)?;
    say::answer("configuration ok");
    Ok(Exit::Orderly)
}

fn print_config(app: &App, sources: Sources) -> Outcome {
    let (settings, problems) = load(app.into(), sources)?;
    bad_config(problems.iter().map(ToString::to_string).collect())?;
    say::answer(config::to_toml(&settings).trim_end());
    Ok(Exit::Orderly)
}

/// Places and rights are not looked at: the host of the service may be another one.
fn systemd_unit(
    kind: Kind<'_>,
    sources: Sources,
    sockets: bool,
    output: Option<PathBuf>,
) -> Outcome {
    let named = sources
        .config
        .clone()
        .or_else(|| std::env::var_os("HATCHERY_CONFIG").map(PathBuf::from));
    let file = named
        .map(std::path::absolute)
        .transpose()
        .map_err(|error| {
            Failure::new(
                Exit::BadConfig,
                format!("the configuration file has no absolute path: {error}"),
            )
        })?;
    let (settings, problems) = load(kind, sources)?;
    let mut sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    sentences.extend(config::contradictions(&settings));
    bad_config(sentences)?;
    let section = settings.config.section.as_ref();
    for name in section.map(Section::variables).unwrap_or_default() {
        say::note(format_args!(
            "{name} is not in the unit, for it may be a secret: give it by EnvironmentFile="
        ));
    }
    units::run(&settings, file.as_deref(), sockets, output)
}

/// The settings, if nothing is wrong with them, alone and together, with the places they name or the certificates there.
fn checked(kind: Kind<'_>, sources: Sources) -> Result<Settings, Failure> {
    let (settings, problems) = load(kind, sources)?;
    let mut sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    sentences.extend(config::contradictions(&settings));
    sentences.extend(config::unusable_attributes(&settings));
    sentences.extend(config::unusable_places(&settings));
    sentences.extend(config::unusable_certificates(&settings));
    sentences.extend(config::unusable_program(&settings));
    bad_config(sentences)?;
    match (kind.keeps_program, settings.config.program.is_some()) {
        (true, false) => Err(Failure::new(
            Exit::Usage,
            "no program is named: write it behind --, as in `hatchery run -- ./server`, or as `program` into the \
             configuration file",
        )),
        (false, true) => Err(Failure::new(
            Exit::Usage,
            "this application has workers of its own and runs no other program: leave `program` out",
        )),
        (true, true) | (false, false) => Ok(settings),
    }
}

/// What an application was built as.
#[derive(Debug, Clone, Copy)]
struct Kind<'a> {
    name: &'a str,
    keeps_program: bool,
    /// Whether it has a configuration of its own.
    has_section: bool,
}

impl<'a> From<&'a App> for Kind<'a> {
    fn from(app: &'a App) -> Self {
        Self {
            name: &app.name,
            keeps_program: app.keeps_program,
            has_section: app.config.is_some(),
        }
    }
}

/// Whether the application can read its own configuration. Apart from [`checked`], for it runs the author's code, which a master
/// never does: in a reload it is up to the first new worker.
fn fits(app: &App, settings: &Settings) -> Result<(), Failure> {
    let (Some(judge), Some(section)) = (app.config, &settings.config.section) else {
        return Ok(());
    };
    let problem = judge(section).err();
    bad_config(problem.iter().map(ToString::to_string).collect())
}

/// Looks at what other machines answer. Apart from [`checked`], for it may take seconds, and a running master has to
/// read its settings again without them.
fn reached(settings: &Settings) -> Result<(), Failure> {
    bad_config(config::unusable_fleet(settings).into_iter().collect())
}

/// Where the running application answers. Only what is wrong with its name or place matters here: an
/// application must be stoppable after a mistake elsewhere in its file.
fn reach(app: &App, target: Target) -> Result<Client, Failure> {
    let (settings, problems) = load(app.into(), target.into_sources())?;
    let keys = ["name", "runtime_dir"];
    let concerning = |problem: &&ConfigError| problem.concerns(&keys);
    bad_config(
        problems
            .iter()
            .filter(concerning)
            .map(ToString::to_string)
            .collect(),
    )?;
    let said = |key| settings.sources.contains_key(key);
    if app.keeps_program
        && settings.config.program.is_none()
        && !said("name")
        && !said("runtime_dir")
    {
        return Err(Failure::new(
            Exit::Usage,
            "which application? Give --app NAME, the name that it was started with, or its --config FILE",
        ));
    }
    let config = settings.config;
    Ok(Client::new(config.name, &config.runtime_dir))
}

fn load(kind: Kind<'_>, sources: Sources) -> Result<(Settings, Vec<ConfigError>), Failure> {
    let cwd: PathBuf = std::env::current_dir().map_err(|error| {
        Failure::new(
            Exit::BadConfig,
            format!("the current directory is gone or unreadable: {error}"),
        )
    })?;
    Ok(config::load(Inputs {
        app: kind.name,
        flags: sources.flags,
        config: sources.config,
        has_section: kind.has_section,
        environment: std::env::vars_os(),
        cwd: &cwd,
    }))
}

fn bad_config(sentences: Vec<String>) -> Result<(), Failure> {
    if sentences.is_empty() {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::BadConfig,
        sentences,
    })
}
