//! The configuration, and how it changes hands.

use std::path::PathBuf;

use hatchery::BoxError;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

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
pub(crate) struct Current(watch::Sender<Option<Version>>);

impl Current {
    pub(crate) fn get(&self) -> Option<Version> {
        self.0.borrow().clone()
    }

    /// The same, as soon as there is one.
    pub(crate) async fn wait(&self) -> Option<Version> {
        let mut versions = self.0.subscribe();
        let version = versions.wait_for(Option::is_some).await;
        version.ok()?.clone()
    }

    pub(crate) fn set(&self, version: Version) {
        self.0.send_if_modified(|current| {
            let later =
                |known: &Version| (known.agent, known.number) < (version.agent, version.number);
            let news = current.as_ref().is_none_or(later);
            if news {
                *current = Some(version);
            }
            news
        });
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
