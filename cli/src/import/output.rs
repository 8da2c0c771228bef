//! The new configuration, and where it goes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::Value;

use super::pm2::ImportError;

/// One application, to be written.
#[derive(Debug, Default)]
pub(crate) struct Application {
    /// Its name.
    pub(crate) name: String,
    /// The file that it comes from.
    pub(crate) origin: String,
    /// Each key with its value, and what there is to say about it.
    pub(crate) keys: Vec<(&'static str, Value, Vec<String>)>,
    /// Options without a counterpart, and why.
    pub(crate) without: Vec<(String, String)>,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    #[error("there are {count} applications ({}): choose one with --only NAME, or name a folder for all with --output", names.join(", "))]
    Several { count: usize, names: Vec<String> },
    #[error("{} cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

impl Application {
    /// Names an option that has no counterpart.
    pub(crate) fn without(&mut self, option: &str, reason: &str) {
        self.without.push((option.to_owned(), reason.to_owned()));
    }

    /// As a file.
    pub(crate) fn to_toml(&self) -> String {
        let mut out = String::new();
        // A String takes every write.
        let _ = writeln!(out, "# {} from {}", self.name, visible(&self.origin));
        for (key, value, remarks) in &self.keys {
            for remark in remarks {
                let _ = writeln!(out, "# {}", visible(remark));
            }
            let _ = writeln!(out, "{key} = {value}");
        }
        if !self.without.is_empty() {
            let _ = writeln!(out, "\n# Without a counterpart:");
        }
        for (option, reason) in &self.without {
            let _ = writeln!(out, "# - {}: {reason}", visible(option));
        }
        out
    }
}

/// A comment ends with its line.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Writes what was imported to `output`, or prints it.
pub(crate) fn write(
    applications: &[Application],
    output: Option<&Path>,
) -> Result<(), ImportError> {
    match (applications, output) {
        ([one], None) => {
            // Nobody listening is no error.
            let _ = io::stdout().write_all(one.to_toml().as_bytes());
        }
        ([one], Some(path)) if !path.is_dir() => make(path, one)?,
        (several, Some(folder)) => {
            std::fs::create_dir_all(folder).map_err(|source| OutputError::Unwritable {
                path: folder.to_owned(),
                source,
            })?;
            for application in several {
                make(
                    &folder.join(format!("{}.toml", application.name)),
                    application,
                )?;
            }
        }
        (several, None) => {
            return Err(OutputError::Several {
                count: several.len(),
                names: several.iter().map(|app| app.name.clone()).collect(),
            }
            .into());
        }
    }
    Ok(())
}

/// A file that is there already may have been changed by hand.
fn make(path: &Path, application: &Application) -> Result<(), OutputError> {
    let written = File::create_new(path)
        .and_then(|mut file| file.write_all(application.to_toml().as_bytes()));
    written.map_err(|source| OutputError::Unwritable {
        path: path.to_owned(),
        source,
    })?;
    let _ = writeln!(io::stdout(), "{}", path.display());
    Ok(())
}
