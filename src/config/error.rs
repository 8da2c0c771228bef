//! What can be wrong with a configuration, each in one sentence that names the key and the source.

use std::path::PathBuf;

use thiserror::Error;

use super::source::Source;

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration file {} ({origin}): {reason}", path.display())]
    Unreadable {
        path: PathBuf,
        origin: Source,
        reason: String,
    },
    #[error("the configuration file {}, line {line}, is not TOML: {reason}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("unknown key `{key}` in {origin}{}", did_you_mean(.similar.as_deref()))]
    UnknownKey {
        key: String,
        origin: Source,
        similar: Option<String>,
    },
    #[error("unknown environment variable {name}{}", did_you_mean(.similar.as_deref()))]
    UnknownVariable {
        name: String,
        similar: Option<String>,
    },
    #[error("bad value `{value}` for `{key}` in {origin}: {reason}")]
    BadValue {
        key: &'static str,
        value: String,
        origin: Source,
        reason: String,
    },
    #[error("`{key}` stands twice in {origin}, once with - and once with _")]
    Twice { key: &'static str, origin: Source },
    /// About the application's own configuration, whose values are not shown.
    #[error("bad value for `{key}` in {origin}: {reason}")]
    Section {
        key: String,
        origin: Source,
        reason: String,
    },
    #[error("both `port` and `listen` in {origin}: give one of them")]
    PortAndListen { origin: Source },
}

impl ConfigError {
    /// Whether this makes one of `keys` unknown. A file that cannot be read makes every key unknown.
    pub(crate) fn concerns(&self, keys: &[&str]) -> bool {
        match self {
            Self::Unreadable { .. } | Self::Syntax { .. } => true,
            Self::BadValue { key, .. } | Self::Twice { key, .. } => keys.contains(key),
            Self::UnknownKey { .. }
            | Self::UnknownVariable { .. }
            | Self::Section { .. }
            | Self::PortAndListen { .. } => false,
        }
    }
}

fn did_you_mean(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// The known name that `given` most likely stands for.
pub(crate) fn closest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .min()
        // A third of the letters wrong is another word.
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .map(|(_, name)| name)
}
