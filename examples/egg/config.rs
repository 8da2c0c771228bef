//! The configuration, and how it changes hands.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use hatchery::BoxError;
use serde::{Deserialize, Serialize};

/// The topic on which the agent tells and is asked.
pub(crate) const TOPIC: &str = "config";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) greeting: String,
}

/// A configuration and its number: of two, the later one counts, in whichever order they arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// The agent that has read it, by its incarnation.
    pub(crate) agent: u64,
    /// How many that agent has read.
    pub(crate) number: u64,
    pub(crate) config: Config,
}

/// What a process has in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current(Arc<RwLock<Option<Version>>>);

impl Current {
    pub(crate) fn get(&self) -> Option<Version> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, version: Version) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let later = |known: &Version| (known.agent, known.number) < (version.agent, version.number);
        if current.as_ref().is_none_or(later) {
            *current = Some(version);
        }
    }
}

pub(crate) fn path() -> PathBuf {
    std::env::var_os("EGG_CONFIG").map_or_else(|| "egg.json".into(), PathBuf::from)
}

pub(crate) fn read() -> Result<Config, BoxError> {
    let path = path();
    let text = std::fs::read(&path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let config = serde_json::from_slice(&text);
    Ok(config.map_err(|error| format!("{} is no configuration: {error}", path.display()))?)
}
