//! The configuration file: TOML, one level, the keys of [`KEYS`], and the application's own section.

use std::collections::BTreeSet;
use std::path::Path;

use hatchery_protocol::section::NAME;
use toml::{Table, Value};

use super::error::{ConfigError, closest};
use super::key::{Form, KEYS, Key};
use super::said::Said;
use super::section;
use super::source::Source;

/// Reads the file at `path`; `named_by` is who named it.
pub(crate) fn read(path: &Path, named_by: Source) -> Said {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => Said {
            problems: vec![ConfigError::Unreadable {
                path: path.to_owned(),
                origin: named_by,
                reason: error.to_string(),
            }],
            ..Said::default()
        },
    }
}

fn parse(text: &str, path: &Path) -> Said {
    let mut said = Said::default();
    let source = Source::File(path.to_owned());
    let mut table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            let before = text.get(..error.span().map_or(0, |span| span.start));
            said.problems.push(ConfigError::Syntax {
                path: path.to_owned(),
                line: before.unwrap_or_default().matches('\n').count() + 1,
                reason: error.message().lines().collect::<Vec<_>>().join(", "),
            });
            return said;
        }
    };
    if let Some(value) = table.remove(NAME) {
        match section::of_file(value, &source) {
            Ok(table) => said.section = Some(table),
            Err(problem) => said.problems.push(problem),
        }
    }
    let mut seen = BTreeSet::new();
    for (written, value) in &table {
        let name = written.replace('-', "_");
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let similar = closest(&name, KEYS.iter().map(|key| key.name));
            said.problems.push(ConfigError::UnknownKey {
                key: written.clone(),
                origin: source.clone(),
                similar: similar.map(|name| format!("`{name}`")),
            });
            continue;
        };
        if seen.insert(key.name) {
            read_value(&mut said, key, value, &source);
        } else {
            said.problems.push(ConfigError::Twice {
                key: key.name,
                origin: source.clone(),
            });
        }
    }
    said.settle_port(&source);
    said
}

fn read_value(said: &mut Said, key: &Key, value: &Value, source: &Source) {
    let texts: Option<Vec<String>> = match (key.form, value) {
        (Form::Text | Form::Number | Form::Time | Form::Size | Form::List, Value::String(text)) => {
            Some(vec![text.clone()])
        }
        (Form::Number | Form::Time | Form::Size, Value::Integer(number)) => {
            Some(vec![number.to_string()])
        }
        (Form::Time | Form::Size, Value::Float(number)) => Some(vec![number.to_string()]),
        (Form::Switch, Value::Boolean(on)) => Some(vec![on.to_string()]),
        (Form::List, Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        #[cfg(feature = "program")]
        (Form::Words, Value::String(text)) => Some(vec![text.clone()]),
        #[cfg(feature = "program")]
        (Form::Words, Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        (Form::Numbers, Value::Array(items)) if !items.is_empty() => {
            items.iter().map(number).collect()
        }
        (Form::Numbers, Value::String(text)) => Some(text.split(',').map(str::to_owned).collect()),
        (Form::Numbers, Value::Integer(number)) => Some(vec![number.to_string()]),
        _ => None,
    };
    match texts {
        Some(texts) => {
            for text in texts {
                said.read(key, &text, source);
            }
        }
        None => said.refuse(key, &value.to_string(), source, expected(key.form)),
    }
}

fn number(value: &Value) -> Option<String> {
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.as_integer().map(|number| number.to_string()))
}

const fn expected(form: Form) -> &'static str {
    match form {
        Form::Text => "it must be a string",
        Form::Number => "it must be a number",
        Form::Time => "it must be a time like \"2s\"",
        Form::Size => "it must be a size like \"64KiB\"",
        Form::Switch => "it must be true or false",
        Form::List => "it must be a string or an array of strings, with at least one of them",
        #[cfg(feature = "program")]
        Form::Words => {
            "it must be an array of strings like [\"./server\", \"-v\"], with at least one of them"
        }
        Form::Numbers => "it must be an array of numbers like [3, 1], with at least one of them",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::value::Workers;

    fn parsed(text: &str) -> Said {
        parse(text, Path::new("/etc/app.toml"))
    }

    #[test]
    fn both_spellings_and_every_form_are_read() {
        let said = parsed(
            "workers = 3\nthreads = 2\ndrain-timeout = '10s'\nlame_duck = '0s'\ndaemon = true\n\
             listen = ['127.0.0.1:1', 'unix:/a,b']\n",
        );
        assert_eq!(said.problems, []);
        assert_eq!(said.layer.workers, Some(Workers::Count(3)));
        assert_eq!(said.layer.drain_timeout, Some(Duration::from_secs(10)));
        assert_eq!(said.layer.daemon, Some(true));
        let listen: Vec<_> = said
            .layer
            .listen
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(listen, ["127.0.0.1:1", "unix:/a,b"]);
        assert_eq!(
            parsed("workers = 'auto'").layer.workers,
            Some(Workers::Auto)
        );
        let one = parsed("listen = '[::1]:80'").layer.listen.unwrap();
        assert_eq!(one.len(), 1);
        for (text, weights) in [
            ("[3, 1]", &[3, 1][..]),
            ("['3', 1]", &[3, 1]),
            ("'3, 1'", &[3, 1]),
            ("7", &[7]),
        ] {
            let said = parsed(&format!("weights = {text}"));
            assert_eq!(said.problems, [], "{text}");
            assert_eq!(said.layer.weights.as_deref(), Some(weights), "{text}");
        }
    }

    #[test]
    fn every_mistake_names_its_key_and_the_file() {
        let file = "file /etc/app.toml";
        for (text, sentence) in [
            (
                "worker = 3",
                format!("unknown key `worker` in {file}; did you mean `workers`?"),
            ),
            (
                "drain-timout = '1s'",
                format!("unknown key `drain-timout` in {file}; did you mean `drain_timeout`?"),
            ),
            ("colour = 'red'", format!("unknown key `colour` in {file}")),
            ("config = 'x'", format!("unknown key `config` in {file}")),
            (
                "[workers]",
                format!("bad value `{{}}` for `workers` in {file}: it must be a number"),
            ),
            (
                "workers = 0",
                format!(
                    "bad value `0` for `workers` in {file}: it must be a number from 1 to 1024, or auto"
                ),
            ),
            (
                "drain_timeout = 30",
                format!(
                    "bad value `30` for `drain_timeout` in {file}: add a unit, as in 30s or 30ms"
                ),
            ),
            (
                "drain_timeout = true",
                format!(
                    "bad value `true` for `drain_timeout` in {file}: it must be a time like \"2s\""
                ),
            ),
            (
                "daemon = 'yes'",
                format!("bad value `\"yes\"` for `daemon` in {file}: it must be true or false"),
            ),
            (
                "name = 5",
                format!("bad value `5` for `name` in {file}: it must be a string"),
            ),
            (
                "listen = []",
                format!(
                    "bad value `[]` for `listen` in {file}: it must be a string or an array of strings, with at least one of them"
                ),
            ),
            (
                "weights = []",
                format!(
                    "bad value `[]` for `weights` in {file}: it must be an array of numbers like [3, 1], with at least one of them"
                ),
            ),
            (
                "weights = [1.5]",
                format!(
                    "bad value `[1.5]` for `weights` in {file}: it must be an array of numbers like [3, 1], with at least one of them"
                ),
            ),
            (
                "weights = [1, 0]",
                format!("bad value `0` for `weights` in {file}: it must be numbers from 1 to 1000"),
            ),
            (
                "lame_duck = '1s'\nlame-duck = '2s'",
                format!("`lame_duck` stands twice in {file}, once with - and once with _"),
            ),
            (
                "port = 1\nlisten = '127.0.0.1:2'",
                format!("both `port` and `listen` in {file}: give one of them"),
            ),
        ] {
            let said = parsed(text);
            let problems: Vec<_> = said.problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [sentence], "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_toml_names_the_line() {
        let problems = parsed("workers = 1\nthreads = =").problems;
        let text = problems[0].to_string();
        assert!(
            text.starts_with("the configuration file /etc/app.toml, line 2, is not TOML: "),
            "{text}"
        );
        assert!(!text.contains('\n'));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        assert_eq!(
            parsed("workers = 0\nthreads = 0\nnonsense = 1")
                .problems
                .len(),
            3
        );
    }
}
