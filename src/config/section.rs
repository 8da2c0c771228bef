//! The application's own configuration: `[app]` of the file, and `HATCHERY_APP__...` over it.
//!
//! What it means is the application's business, see [`hatchery_protocol::section`]. Here it is put together and bounded. No value is in
//! any sentence.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use hatchery_protocol::section::{
    MAX_DEPTH, MAX_SIZE, NAME, PREFIX, Section, Table, Value, normal,
};
use serde_json::Number;

use super::error::ConfigError;
use super::source::Source;

/// Whether a variable belongs to the section.
pub(super) fn is_variable(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

fn problem(key: impl Into<String>, origin: &Source, reason: impl Into<String>) -> ConfigError {
    ConfigError::Section {
        key: key.into(),
        origin: origin.clone(),
        reason: reason.into(),
    }
}

/// What the file says.
pub(super) fn of_file(value: toml::Value, source: &Source) -> Result<Table, ConfigError> {
    let refuse = |(key, reason): (String, &str)| problem(key, source, reason);
    match convert(value, NAME, 1).map_err(refuse)? {
        Value::Table(table) => Ok(table),
        Value::Text(_)
        | Value::Number(_)
        | Value::Switch(_)
        | Value::List(_)
        | Value::Variable(_) => Err(problem(
            NAME,
            source,
            "it must be a table: the application's own keys stand under [app]",
        )),
    }
}

/// The error has a key, and what is wrong with it.
fn convert(value: toml::Value, key: &str, depth: usize) -> Result<Value, (String, &'static str)> {
    if depth > MAX_DEPTH {
        let why = "tables and arrays are nested too deep there: 16 levels are allowed";
        return Err((key.to_owned(), why));
    }
    Ok(match value {
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(number) => Value::Number(number.into()),
        toml::Value::Float(number) => Value::Number(
            Number::from_f64(number)
                .ok_or_else(|| (key.to_owned(), "it must be a finite number"))?,
        ),
        toml::Value::Boolean(on) => Value::Switch(on),
        toml::Value::Datetime(time) => Value::Text(time.to_string()),
        toml::Value::Array(items) => Value::List(
            items
                .into_iter()
                .enumerate()
                .map(|(number, item)| convert(item, &format!("{key}[{number}]"), depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        toml::Value::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(name, inner)| {
                    let value = convert(inner, &format!("{key}.{name}"), depth + 1)?;
                    Ok((name, value))
                })
                .collect::<Result<_, _>>()?,
        ),
    })
}

/// The sources, on their way to one section.
pub(super) struct Merge {
    pub(super) file: Option<PathBuf>,
    /// What the file says, if it says anything.
    pub(super) table: Option<Table>,
    pub(super) problems: Vec<ConfigError>,
}

impl Merge {
    /// Lays variables over the file. `None`: something is wrong.
    pub(super) fn with(&mut self, mut variables: Vec<(OsString, OsString)>) -> Option<Section> {
        let mut table = self.table.take().unwrap_or_default();
        // In an order, so that the same mistake is always told the same way.
        variables.sort();
        for (name, value) in variables {
            let source = Source::Environment(name.to_string_lossy().into_owned());
            let name = name.to_string_lossy();
            let names = name.strip_prefix(PREFIX).unwrap_or_default();
            let names: Vec<String> = names.split("__").map(normal).collect();
            let laid = match value.into_string() {
                Ok(text) => lay(&mut table, &names, text),
                Err(_) => Err("it is not text in UTF-8"),
            };
            if let Err(reason) = laid {
                self.problems.push(problem(key_of(&names), &source, reason));
            }
        }
        let file = self.file.as_ref();
        let section = Section::new(table, file.map(|path| path.display().to_string()));
        let size = section.size();
        if size > MAX_SIZE {
            let reason = format!(
                "all of it has {size} bytes and at most {MAX_SIZE} are allowed, for it comes with each process's first \
                 message; keep what is large in a file of its own, and its path here"
            );
            self.problems.push(problem(NAME, &self.origin(), reason));
        }
        self.problems.is_empty().then_some(section)
    }

    /// The application has no configuration of its own.
    pub(super) fn refuse(&mut self, variables: &[(OsString, OsString)]) {
        let reason = "this application has no configuration of its own; leave it out, or give the application one with \
                      App::config";
        if self.table.take().is_some() {
            self.problems.push(problem(NAME, &self.origin(), reason));
        }
        for (name, _) in variables {
            let source = Source::Environment(name.to_string_lossy().into_owned());
            self.problems.push(problem(NAME, &source, reason));
        }
    }

    fn origin(&self) -> Source {
        match &self.file {
            Some(path) => Source::File(path.clone()),
            None => Source::Environment(format!("{PREFIX}...")),
        }
    }
}

fn key_of(names: &[String]) -> String {
    let names = names.iter().filter(|name| !name.is_empty());
    names.fold(NAME.to_owned(), |key, name| format!("{key}.{name}"))
}

/// Puts what a variable says into its place. The error is a reason.
fn lay(table: &mut Table, names: &[String], text: String) -> Result<(), &'static str> {
    if names.iter().any(String::is_empty) {
        return Err(
            "a key has to stand behind HATCHERY_APP__, and one behind each further __, as in HATCHERY_APP__DATABASE__PORT",
        );
    }
    if names.len() >= MAX_DEPTH {
        return Err("it is nested too deep: 16 levels are allowed");
    }
    let Some((last, above)) = names.split_last() else {
        return Ok(());
    };
    let mut table = table;
    for name in above {
        let inner = entry(table, name);
        match inner {
            Value::Table(_) => {}
            Value::Variable(_) => {
                return Err(
                    "another variable says the whole of which this is a part; set one of the two",
                );
            }
            // The variable beats the file.
            Value::Text(_) | Value::Number(_) | Value::Switch(_) | Value::List(_) => {
                *inner = Value::Table(Table::new());
            }
        }
        let Value::Table(below) = inner else {
            return Ok(());
        };
        table = below;
    }
    let value = entry(table, last);
    if matches!(value, Value::Variable(_)) {
        return Err("two variables say it, in two spellings; set one of the two");
    }
    *value = Value::Variable(text);
    Ok(())
}

/// The value of that name, in whichever spelling the file has it.
fn entry<'a>(table: &'a mut Table, name: &str) -> &'a mut Value {
    let written = table.keys().find(|written| normal(written) == name);
    let written = written.cloned().unwrap_or_else(|| name.to_owned());
    table
        .entry(written)
        .or_insert_with(|| Value::Table(Table::new()))
}

#[cfg(test)]
mod tests;
