//! Where in a section something stands, as the operator calls it: a key, and the file or the variable that says it.

use std::fmt::Write as _;

use super::{NAME, Section, Table, Value};

/// What variables of the section begin with. Between the names of a path stands the same `__`.
pub const PREFIX: &str = "HATCHERY_APP__";

/// One step from a table or an array to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of this name.
    Name(String),
    /// To the value of this number, counted from 0.
    Item(usize),
}

/// The one spelling that all spellings of a name have in common: `max-items`, `MAX_ITEMS` and `max_items` are one.
pub fn normal(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The variable that says this. There is none for what is in an array.
pub(super) fn variable(path: &[Step]) -> Option<String> {
    let names: Option<Vec<String>> = path
        .iter()
        .map(|step| match step {
            Step::Name(name) => Some(normal(name).to_uppercase()),
            Step::Item(_) => None,
        })
        .collect();
    names
        .filter(|names| !names.is_empty())
        .map(|names| format!("{PREFIX}{}", names.join("__")))
}

/// `app.servers[1].port`.
pub(super) fn key(path: &[Step]) -> String {
    let mut key = NAME.to_owned();
    for step in path {
        match step {
            Step::Name(name) => {
                key.push('.');
                // A quoted name may hold anything, and a sentence is one line.
                key.extend(name.chars().map(|c| if c.is_control() { '?' } else { c }));
            }
            // A String takes every write.
            Step::Item(number) => drop(write!(key, "[{number}]")),
        }
    }
    key
}

/// Who says what stands there.
pub(super) fn origin(path: &[Step], section: &Section) -> String {
    if let Some(name) = variable_at(path, section) {
        return format!("environment variable {name}");
    }
    match &section.file {
        Some(file) => format!("file {file}"),
        None => "the configuration".to_owned(),
    }
}

/// The variable that says what stands there, if the file has nothing to do with it.
pub(super) fn variable_at(path: &[Step], section: &Section) -> Option<String> {
    let mut table = section.table()?;
    for (index, step) in path.iter().enumerate() {
        let Step::Name(name) = step else {
            return None;
        };
        let so_far = path.get(..=index)?;
        match table.get(name)? {
            // What is below is what becomes of its text.
            Value::Variable(_) => return variable(so_far),
            Value::Table(inner) if index + 1 == path.len() => {
                let mut below = Vec::new();
                leaves(inner, &mut so_far.to_vec(), &mut below);
                let alone = below
                    .iter()
                    .all(|leaf| variable_at(leaf, section).is_some());
                return below
                    .first()
                    .filter(|_| alone)
                    .and_then(|leaf| variable(leaf));
            }
            Value::Table(inner) => table = inner,
            Value::Text(_) | Value::Number(_) | Value::Switch(_) | Value::List(_) => return None,
        }
    }
    None
}

/// The paths of all values that are no tables.
pub(super) fn leaves(table: &Table, above: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    for (name, value) in table {
        above.push(Step::Name(name.clone()));
        match value {
            Value::Table(inner) => leaves(inner, above, found),
            Value::Text(_)
            | Value::Number(_)
            | Value::Switch(_)
            | Value::List(_)
            | Value::Variable(_) => found.push(above.clone()),
        }
        above.pop();
    }
}
