//! The application's own configuration, as a type.

use std::time::Duration;

use serde::Deserialize;

/// `[app]` of the configuration file.
#[derive(Clone, Deserialize)]
pub(crate) struct Settings {
    /// `HATCHERY_APP__GREETING` in the environment.
    pub(crate) greeting: String,
    /// `HATCHERY_APP__NAMES=World,everybody`.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    pub(crate) upstream: Upstream,
}

/// `[app.upstream]`.
#[derive(Clone, Deserialize)]
pub(crate) struct Upstream {
    pub(crate) region: String,
    /// A secret: rather `HATCHERY_APP__UPSTREAM__TOKEN` than in the file.
    pub(crate) token: String,
    #[serde(default = "three")]
    pub(crate) attempts: Attempts,
    #[serde(default)]
    pub(crate) patience: Patience,
}

/// A rule of the application's own, which `check` knows because the type does.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u8")]
pub(crate) struct Attempts(pub(crate) u8);

impl TryFrom<u8> for Attempts {
    type Error = &'static str;

    fn try_from(attempts: u8) -> Result<Self, Self::Error> {
        if attempts > 10 {
            return Err("it must be at most 10");
        }
        Ok(Self(attempts))
    }
}

const fn three() -> Attempts {
    Attempts(3)
}

/// One of several.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Patience {
    Short,
    #[default]
    Long,
}

impl Patience {
    pub(crate) const fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Short => 1,
            Self::Long => 30,
        })
    }
}
