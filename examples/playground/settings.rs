//! Which faults the environment asks for.

use std::env::{self, VarError};
use std::path::PathBuf;
use std::str::FromStr;
use std::{fs, io};

use hatchery::BoxError;

use crate::fault::Fault;

/// Everything but the paths of the trace, which has to begin before this can fail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    agent_start: Fault,
    pub(crate) agent_egg_ready: Fault,
    /// `None`: it leaves altogether.
    pub(crate) agent_stand_down: Option<Fault>,
    pub(crate) worker_egg_ready: Fault,
    pub(crate) before_close: Fault,
    /// The only worker that faults of workers concern.
    pub(crate) worker_slot: Option<u32>,
    worker_start: Fault,
    fault_file: Option<PathBuf>,
    agent_fault_file: Option<PathBuf>,
}

impl Settings {
    /// Reads all of them, in whichever process: a mistake should not wait for the process it concerns.
    ///
    /// # Errors
    ///
    /// The first value that makes no sense, with the name of its variable.
    pub(crate) fn read() -> Result<Self, BoxError> {
        let settings = Self {
            agent_start: variable("PLAYGROUND_AGENT_START")?.unwrap_or_default(),
            agent_egg_ready: variable("PLAYGROUND_AGENT_EGG_READY")?.unwrap_or_default(),
            agent_stand_down: variable("PLAYGROUND_AGENT_STAND_DOWN")?,
            worker_egg_ready: variable("PLAYGROUND_WORKER_EGG_READY")?.unwrap_or_default(),
            before_close: variable("PLAYGROUND_BEFORE_CLOSE")?.unwrap_or_default(),
            worker_slot: variable("PLAYGROUND_WORKER_SLOT")?,
            worker_start: variable("PLAYGROUND_WORKER_START")?.unwrap_or_default(),
            fault_file: path("PLAYGROUND_FAULT_FILE")?,
            agent_fault_file: path("PLAYGROUND_AGENT_FAULT_FILE")?,
        };
        match settings.before_close {
            Fault::Fail | Fault::Exit(_) => Err(
                "PLAYGROUND_BEFORE_CLOSE: only ok, block:MS, slow:MS, hang and panic make sense here".into(),
            ),
            Fault::None | Fault::Panic | Fault::Hang | Fault::Block(_) | Fault::Slow(_) => Ok(settings),
        }
    }

    /// What a worker's `start` is to do *now*: the file, while it exists, replaces the variable. So does one
    /// beside the executable, which makes one build a bad one.
    ///
    /// # Errors
    ///
    /// The file is there but does not say so.
    pub(crate) fn worker_start(&self) -> Result<Fault, BoxError> {
        let own = env::current_exe()
            .ok()
            .map(|exe| exe.with_extension("fault"));
        let files = self.fault_file.iter().chain(&own);
        Ok(written(files)?.unwrap_or(self.worker_start))
    }

    /// The same of the agent's.
    ///
    /// # Errors
    ///
    /// The file is there but does not say so.
    pub(crate) fn agent_start(&self) -> Result<Fault, BoxError> {
        Ok(written(&self.agent_fault_file)?.unwrap_or(self.agent_start))
    }
}

/// The fault in the first of these files that is there.
fn written<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Result<Option<Fault>, BoxError> {
    for path in files {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(named(&path.to_string_lossy(), &error)),
        };
        return text
            .trim()
            .parse()
            .map(Some)
            .map_err(|error: String| named(&path.to_string_lossy(), &error));
    }
    Ok(None)
}

/// A variable that is a path; empty is not.
pub(crate) fn path(name: &str) -> Result<Option<PathBuf>, BoxError> {
    match env::var_os(name) {
        Some(path) if path.is_empty() => Err(named(name, &"it is empty")),
        path => Ok(path.map(PathBuf::from)),
    }
}

fn variable<T>(name: &str) -> Result<Option<T>, BoxError>
where
    T: FromStr<Err: std::fmt::Display>,
{
    match env::var(name) {
        Ok(text) => text
            .parse()
            .map(Some)
            .map_err(|error| named(&format!("{name}={text}"), &error)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error @ VarError::NotUnicode(_)) => Err(named(name, &error)),
    }
}

fn named(name: &str, error: &dyn std::fmt::Display) -> BoxError {
    format!("{name}: {error}").into()
}
