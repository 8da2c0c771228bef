//! `start`: becoming the master, in the foreground or behind the terminal.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hatchery_master::StartedBy;
use hatchery_protocol::exit::Exit;
use rustix::fs::Mode;

use super::args::Sources;
use super::front::Facade;
use super::{Failure, Kind, Outcome, say};
use crate::config::Settings;
use crate::logging;
use crate::single::Parts;

/// Runs the master to its end, or, for a daemon, until it is ready.
pub(super) fn run(
    kind: Kind<'_>,
    parts: Parts,
    sources: Sources,
    settings: Settings,
    started_by: StartedBy,
) -> Outcome {
    if let Some(mask) = settings.config.umask {
        rustix::process::umask(Mode::from_raw_mode(mask));
    }
    if settings.front.daemon && matches!(started_by, StartedBy::Operator) {
        return daemonise(&settings);
    }
    let Settings { config, front, .. } = settings;
    if let Some(path) = &front.log_file {
        redirect(path).map_err(|error| {
            let path = path.display();
            Failure::new(
                Exit::BadConfig,
                format!("`log_file` cannot be {path}: {error}"),
            )
        })?;
    }
    // A daemon without one writes where its launcher let it write.
    let in_background = started_by
        .is_in_background()
        .then(|| default_log(&config.runtime_dir));
    let log_file = front.log_file.clone().or(in_background);
    // Held to the end: dropping it writes what is still queued.
    let (_log, filter) = logging::master(
        config.log_format,
        &config.log_level,
        started_by.generation(),
    )
    .map_err(|error| {
        let sentence = format!("there is no thread for the log: {error}");
        Failure::new(Exit::Internal, sentence)
    })?;
    let front = Facade {
        app: kind.name.to_owned(),
        keeps_program: kind.keeps_program,
        has_section: kind.has_section,
        parts,
        sources,
        began_with: front,
        log_file,
        filter,
    };
    Ok(hatchery_master::run(config, Box::new(front), started_by))
}

/// Runs this command line again behind the terminal, where `started_by` tells it not to do so once more.
fn daemonise(settings: &Settings) -> Outcome {
    let config = &settings.config;
    // Made here, for the default log lies in it.
    hatchery_master::check_runtime_dir(&config.runtime_dir)
        .map_err(|error| Failure::new(Exit::BadConfig, error.to_string()))?;
    let default = default_log(&config.runtime_dir);
    let output = settings.front.log_file.as_deref().unwrap_or(&default);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match hatchery_master::launch_daemon(arguments, output) {
        Ok(launched) => {
            let (name, pid) = (&config.name, launched.pid);
            let addresses = launched.addresses.join(", ");
            say::answer(format_args!("{name} is ready on {addresses} (pid {pid})"));
            Ok(Exit::Orderly)
        }
        Err(error) => Err(Failure::new(error.exit, error.message)),
    }
}

fn default_log(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("daemon.log")
}

/// Puts standard output and standard error into the file. Children inherit both, so they write there, too.
pub(super) fn redirect(path: &Path) -> std::io::Result<()> {
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    rustix::stdio::dup2_stdout(&file)?;
    rustix::stdio::dup2_stderr(&file)?;
    Ok(())
}
