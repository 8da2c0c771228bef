//! Reading an ecosystem file as data, whichever way it is written.
//!
//! PM2 runs such a file as a program. Here nothing is run: a file that is data in the clothes of a program
//! (`module.exports = {...}`) is read as data, and one that really is a program is refused with the way to have Node
//! print what it comes to.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// What can stand before the data of a module.
const PREFIXES: [&str; 2] = ["module.exports", "export default"];

/// Why a file is no ecosystem file.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{}, line {line}, column {column}: {reason}{}",
        path.display(),
        if *.module { advice(path) } else { String::new() }
    )]
    Malformed {
        path: PathBuf,
        line: usize,
        column: usize,
        reason: String,
        /// Whether it may be right all the same, as a program.
        module: bool,
    },
    #[error("{} is neither JSON, nor YAML, nor JavaScript by its name: it has to end in .json, .yaml, .yml, .js or .cjs", .0.display())]
    UnknownKind(PathBuf),
}

/// What to do with a program.
fn advice(path: &Path) -> String {
    let file = path.display();
    format!(
        "; programs are not run here, so if this is one, let Node print what it comes to and import that: \
         node -p 'JSON.stringify(require(\"./{file}\"))' > ecosystem.json"
    )
}

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Value, super::pm2::ImportError> {
    let text = fs::read_to_string(path).map_err(|source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Ok(parse(&text, path)?)
}

fn parse(text: &str, path: &Path) -> Result<Value, ReadError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "json5") => json(text, path, false),
        Some("js" | "cjs" | "mjs" | "ts") => json(&without_module(text), path, true),
        Some("yaml" | "yml") => yaml(text, path),
        _ => Err(ReadError::UnknownKind(path.to_owned())),
    }
}

/// As JSON5: comments and commas at the end are common in such files, and PM2 takes them.
fn json(text: &str, path: &Path, module: bool) -> Result<Value, ReadError> {
    json5::from_str(text).map_err(|error| {
        let (line, column) = error
            .position()
            .map_or((1, 1), |position| (position.line + 1, position.column + 1));
        ReadError::Malformed {
            path: path.to_owned(),
            line,
            column,
            reason: error
                .code()
                .map_or_else(|| "this is not data".to_owned(), |code| code.to_string()),
            module,
        }
    })
}

/// The data of a module, at the same lines and columns.
fn without_module(text: &str) -> String {
    let mut text = text.to_owned();
    let found = PREFIXES.iter().find_map(|prefix| {
        let at = text.find(prefix)?;
        let rest = text.get(at + prefix.len()..)?;
        let equals = rest.len() - rest.trim_start().len();
        let assigned = usize::from(rest.trim_start().starts_with('='));
        Some(at..at + prefix.len() + assigned * (equals + 1))
    });
    if let Some(prefix) = found {
        let blank: String = text
            .get(prefix.clone())
            .unwrap_or_default()
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        text.replace_range(prefix, &blank);
    }
    let end = text.trim_end().trim_end_matches(';').len();
    text.truncate(end);
    text
}

fn yaml(text: &str, path: &Path) -> Result<Value, ReadError> {
    let malformed = |line, column, reason: String| ReadError::Malformed {
        path: path.to_owned(),
        line,
        column,
        reason,
        module: false,
    };
    let documents = Yaml::load_from_str(text).map_err(|error| {
        let marker = error.marker();
        malformed(marker.line(), marker.col() + 1, error.info().to_owned())
    })?;
    match documents.as_slice() {
        [document] => value_of(document).map_err(|reason| malformed(1, 1, reason)),
        [] => Err(malformed(1, 1, "the file is empty".to_owned())),
        several => {
            let count = several.len();
            Err(malformed(
                1,
                1,
                format!("there are {count} documents in this file; it has to be one"),
            ))
        }
    }
}

fn value_of(yaml: &Yaml<'_>) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::Number((*value).into()),
        Yaml::Value(Scalar::FloatingPoint(value)) => {
            Number::from_f64(value.into_inner()).map_or(Value::Null, Value::Number)
        }
        Yaml::Value(Scalar::String(text)) | Yaml::Representation(text, ..) => {
            Value::String(text.to_string())
        }
        Yaml::Sequence(items) => {
            Value::Array(items.iter().map(value_of).collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                let key = value_of(key)?;
                if key.is_null() {
                    return Err("there is an entry without a name".to_owned());
                }
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                map.insert(key, value_of(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(_, inner) => value_of(inner)?,
        Yaml::Alias(_) | Yaml::BadValue => {
            return Err("there is a value that cannot be understood".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_file_in_every_way_it_may_be_written() {
        let expected = json!({"apps": [{"name": "a", "instances": 2, "env": {"X": true}}]});
        for (name, text) in [
            (
                "e.json",
                r#"{"apps": [{"name": "a", "instances": 2, "env": {"X": true}}]}"#,
            ),
            (
                "e.json",
                "{\"apps\": [{\"name\": \"a\", \"instances\": 2, \"env\": {\"X\": true},}]} // yes\n",
            ),
            (
                "ecosystem.config.js",
                "// PM2\nmodule.exports = {\n  apps: [{ name: 'a', instances: 2, env: { X: true } }],\n};\n",
            ),
            (
                "e.mjs",
                "export default {apps: [{name: \"a\", instances: 2, env: {X: true}}]}",
            ),
            (
                "e.yml",
                "apps:\n  - name: a\n    instances: 2\n    env: {X: true}\n",
            ),
        ] {
            assert_eq!(
                parse(text, Path::new(name)).unwrap(),
                expected,
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (name, text, start, part) in [
            (
                "e.json",
                "{\n  \"apps\": [}\n",
                "e.json, line 2, column ",
                "",
            ),
            ("e.json", "", "e.json, line 1, column 1: ", "EOF"),
            ("e.yaml", "apps:\n  - name: 'a\n", "e.yaml, line ", ""),
            (
                "e.yaml",
                "",
                "e.yaml, line 1, column 1: ",
                "the file is empty",
            ),
            (
                "e.yaml",
                "a: 1\n---\nb: 2\n",
                "e.yaml, line 1",
                "2 documents",
            ),
            (
                "e.js",
                "module.exports = {\n  apps: [{ name: process.env.X }]\n}\n",
                "e.js, line 2, column ",
                "let Node print what it comes to and import that: node -p 'JSON.stringify(require(\"./e.js\"))'",
            ),
            (
                "e.cjs",
                "const os = require('os');\nmodule.exports = { apps: [] };\n",
                "e.cjs, line 1, column 1",
                "programs are not run here",
            ),
            ("e.toml", "", "e.toml is neither JSON", ""),
        ] {
            let error = parse(text, Path::new(name)).unwrap_err().to_string();
            assert!(error.starts_with(start) && error.contains(part), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
