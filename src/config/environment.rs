//! The environment: `HATCHERY_<KEY>`, and `WEB_CONCURRENCY` as platforms set it.

use std::ffi::OsString;
use std::path::PathBuf;

use hatchery_protocol::section;

use super::error::{ConfigError, closest};
use super::key::{Form, KEYS};
use super::said::Said;
use super::source::Source;

const PREFIX: &str = "HATCHERY_";
/// Names the configuration file, so it cannot be a key of it.
const CONFIG: &str = "HATCHERY_CONFIG";
/// Of the application's own, written with one underscore too few.
const ALMOST_SECTION: &str = "HATCHERY_APP_";
/// Set by a master for its children; no settings.
const RESERVED: &str = "HATCHERY_CHILD_";
/// The number of workers on platforms that give every language the same variable.
const WEB_CONCURRENCY: &str = "WEB_CONCURRENCY";

/// Reads the variables. Also returns the configuration file, if a variable names one.
pub(crate) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Said, Option<PathBuf>) {
    let mut said = Said::default();
    let mut config = None;
    let mut web_concurrency = None;
    for (name, value) in variables {
        let Some(name) = name.to_str() else {
            continue;
        };
        if name == CONFIG {
            config = Some(PathBuf::from(value));
        } else if name == WEB_CONCURRENCY {
            web_concurrency = Some(value);
        } else if name.starts_with(PREFIX) && !name.starts_with(RESERVED) && !is_secret(name) {
            read_variable(&mut said, name, &value.to_string_lossy());
        }
    }
    // An empty value is how such platforms say "not set".
    if let Some(value) = web_concurrency.filter(|value| !value.is_empty())
        && said.layer.workers.is_none()
        && let Some(workers) = KEYS.iter().find(|key| key.name == "workers")
    {
        let source = Source::Environment(WEB_CONCURRENCY.to_owned());
        said.read(workers, &value.to_string_lossy(), &source);
    }
    said.settle_port(&Source::Environment(
        "HATCHERY_PORT and HATCHERY_LISTEN".into(),
    ));
    (said, config)
}

/// What the agent reads itself. No setting, since settings are shown.
fn is_secret(name: &str) -> bool {
    #[cfg(feature = "fleet")]
    return name == hatchery_agent::fleet::PASSWORD_VARIABLE;
    #[cfg(not(feature = "fleet"))]
    {
        let _ = name;
        false
    }
}

fn read_variable(said: &mut Said, name: &str, value: &str) {
    let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
        // Without what all of them share, which would make any two look alike.
        let given = name.trim_start_matches(PREFIX).to_ascii_lowercase();
        let known = KEYS.iter().map(|key| key.name).chain(["config"]);
        let similar = match name.strip_prefix(ALMOST_SECTION) {
            Some(rest) => Some(format!("{}{rest}", section::PREFIX)),
            None => {
                closest(&given, known).map(|key| format!("{PREFIX}{}", key.to_ascii_uppercase()))
            }
        };
        said.problems.push(ConfigError::UnknownVariable {
            name: name.to_owned(),
            similar,
        });
        return;
    };
    let source = Source::Environment(name.to_owned());
    match key.form {
        Form::List | Form::Numbers => {
            for item in value.split(',') {
                said.read(key, item, &source);
            }
        }
        Form::Text | Form::Number | Form::Time | Form::Size | Form::Switch => {
            said.read(key, value, &source);
        }
        // One word: what would stand between several may stand in them.
        #[cfg(feature = "program")]
        Form::Words => said.read(key, value, &source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Workers;

    fn environment(variables: &[(&str, &str)]) -> (Said, Option<PathBuf>) {
        read(
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    #[test]
    fn variables_are_read() {
        let (said, config) = environment(&[
            ("HATCHERY_WORKERS", "4"),
            ("HATCHERY_LISTEN", "127.0.0.1:1, unix:/a"),
            ("HATCHERY_DAEMON", "1"),
            ("HATCHERY_CONFIG", "app.toml"),
            ("HATCHERY_CHILD_ROLE", "nonsense"),
            ("HATCHERYX", "1"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(said.problems, []);
        assert_eq!(said.layer.workers, Some(Workers::Count(4)));
        assert_eq!(said.layer.listen.unwrap().len(), 2);
        assert_eq!(said.layer.daemon, Some(true));
        assert_eq!(config, Some(PathBuf::from("app.toml")));
    }

    #[test]
    fn web_concurrency_counts_where_hatchery_workers_is_silent() {
        let (said, _) = environment(&[("WEB_CONCURRENCY", "3")]);
        assert_eq!(said.layer.workers, Some(Workers::Count(3)));
        assert_eq!(
            said.sources
                .get("workers")
                .map(ToString::to_string)
                .as_deref(),
            Some("environment variable WEB_CONCURRENCY")
        );
        let (said, _) = environment(&[("WEB_CONCURRENCY", "3"), ("HATCHERY_WORKERS", "5")]);
        assert_eq!(said.layer.workers, Some(Workers::Count(5)));
        let (said, _) = environment(&[("WEB_CONCURRENCY", "")]);
        assert_eq!((said.layer.workers, said.problems.len()), (None, 0));
        let (said, _) = environment(&[("WEB_CONCURRENCY", "many")]);
        assert_eq!(said.problems.len(), 1);
    }

    #[test]
    fn every_mistake_names_its_variable() {
        for (name, value, sentence) in [
            (
                "HATCHERY_WORKER",
                "3",
                "unknown environment variable HATCHERY_WORKER; did you mean HATCHERY_WORKERS?",
            ),
            (
                "HATCHERY_CONFIGS",
                "3",
                "unknown environment variable HATCHERY_CONFIGS; did you mean HATCHERY_CONFIG?",
            ),
            (
                "HATCHERY_COLOUR",
                "red",
                "unknown environment variable HATCHERY_COLOUR",
            ),
            (
                "HATCHERY_APP_GREETING",
                "hunter2",
                "unknown environment variable HATCHERY_APP_GREETING; did you mean HATCHERY_APP__GREETING?",
            ),
            (
                "HATCHERY_PORT",
                "http",
                "bad value `http` for `port` in environment variable HATCHERY_PORT: it must be a port from 0 to 65535 (0: the kernel chooses)",
            ),
            (
                "HATCHERY_NAME",
                "a/b",
                "bad value `a/b` for `name` in environment variable HATCHERY_NAME: a name has 1 to 64 characters out of A-Z a-z 0-9 . _ -",
            ),
            (
                "HATCHERY_LAME_DUCK",
                "2",
                "bad value `2` for `lame_duck` in environment variable HATCHERY_LAME_DUCK: add a unit, as in 2s or 2ms",
            ),
            (
                "HATCHERY_HEADER_TIMEOUT",
                "0s",
                "bad value `0s` for `header_timeout` in environment variable HATCHERY_HEADER_TIMEOUT: it must be more than zero",
            ),
            (
                "HATCHERY_EVENTS",
                "",
                "bad value `` for `events` in environment variable HATCHERY_EVENTS: it must be a path, it is empty",
            ),
        ] {
            let (said, _) = environment(&[(name, value)]);
            let problems: Vec<_> = said.problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [sentence]);
        }
        let (said, _) = environment(&[("HATCHERY_PORT", "1"), ("HATCHERY_LISTEN", "127.0.0.1:2")]);
        assert_eq!(
            said.problems[0].to_string(),
            "both `port` and `listen` in environment variable HATCHERY_PORT and HATCHERY_LISTEN: give one of them"
        );
    }
}
