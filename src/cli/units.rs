//! `systemd-unit`: files for systemd.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hatchery_protocol::exit::Exit;

use super::{Failure, Outcome, say};
use crate::config::Settings;
use crate::systemd::{Application, Unit, units};

/// Prints the units, or writes them into a directory.
pub(super) fn run(
    settings: &Settings,
    config_file: Option<&Path>,
    sockets: bool,
    output: Option<PathBuf>,
) -> Outcome {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Internal,
            format!("this executable has no path: {error}"),
        )
    })?;
    let application = Application {
        program: &program,
        settings,
        config_file,
    };
    let units = units(&application, sockets).map_err(|sentences| Failure {
        exit: Exit::BadConfig,
        sentences,
    })?;
    match output {
        None => print(&units),
        Some(folder) => write(&units, &folder)?,
    }
    Ok(Exit::Orderly)
}

/// Each with its name, as `systemctl cat` shows it.
fn print(units: &[Unit]) {
    let texts: Vec<String> = units
        .iter()
        .map(|unit| format!("# {}\n{}", unit.name, unit.text))
        .collect();
    say::answer(texts.join("\n").trim_end());
}

fn write(units: &[Unit], folder: &Path) -> Result<(), Failure> {
    for unit in units {
        let path = folder.join(&unit.name);
        make(&path, &unit.text).map_err(|error| {
            let path = path.display();
            Failure::new(
                Exit::BadConfig,
                format!("{path} cannot be written: {error}"),
            )
        })?;
        say::answer(path.display());
    }
    Ok(())
}

/// A file that is there already may have been changed by hand.
fn make(path: &Path, text: &str) -> io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}
