//! PM2's ecosystem file.
//!
//! Each application of it becomes one configuration: PM2 has one daemon for all applications of a user, hatchery one
//! small master for each. [`command`] is about what is run, [`options`] about everything else.

mod command;
mod draft;
mod options;
mod without;

use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use super::output::{Application, OutputError};
use super::read::ReadError;
use draft::Draft;

/// Why there is nothing to import.
#[derive(Debug, Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{file} names no applications: it has to have `apps`, a list of them")]
    NoApplications { file: String },
    #[error("{file}: application {number} is not an object")]
    NotAnObject { file: String, number: usize },
    #[error("{file}: application {number} has no `script`, so there is nothing to run")]
    NoScript { file: String, number: usize },
    #[error("{file}: `{option}` of application {name} cannot be {value}: {reason}")]
    BadValue {
        file: String,
        name: String,
        option: String,
        value: String,
        reason: String,
    },
    #[error("{file} has no application {wanted}; there is {}", known.join(", "))]
    Unknown {
        file: String,
        wanted: String,
        known: Vec<String>,
    },
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A value that an option cannot have.
#[derive(Debug)]
struct Refused {
    option: String,
    value: String,
    reason: &'static str,
}

impl Refused {
    fn new(option: &str, value: &Value, reason: &'static str) -> Self {
        Self {
            option: option.to_owned(),
            value: value.to_string(),
            reason,
        }
    }
}

/// The applications in `file`, which holds `value`: all, or the one called `only`, with the variables of
/// `env_NAME` if a name is given.
pub(crate) fn import(
    value: &Value,
    file: &Path,
    only: Option<&str>,
    env: Option<&str>,
) -> Result<Vec<Application>, ImportError> {
    let file = file.display().to_string();
    let apps = value.get("apps");
    let list = if let Some(list) = value.as_array().or_else(|| apps?.as_array()) {
        list.clone()
    } else if let Some(one) = apps.filter(|apps| apps.is_object()) {
        vec![one.clone()]
    } else if value.get("script").is_some() {
        // A file may be one application.
        vec![value.clone()]
    } else {
        return Err(ImportError::NoApplications { file });
    };
    if list.is_empty() {
        return Err(ImportError::NoApplications { file });
    }
    let mut applications = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let number = index + 1;
        let Value::Object(app) = value else {
            return Err(ImportError::NotAnObject { file, number });
        };
        let app = normal(app);
        applications.push(application(&app, &file, number, env)?);
    }
    if value.get("deploy").is_some() {
        for application in &mut applications {
            application.without(
                "deploy",
                "hatchery starts and replaces processes; bringing files to hosts is a deployment tool's affair",
            );
        }
    }
    let Some(wanted) = only else {
        return Ok(applications);
    };
    let known: Vec<String> = applications.iter().map(|app| app.name.clone()).collect();
    applications.retain(|app| app.name == wanted);
    if applications.is_empty() {
        let wanted = wanted.to_owned();
        return Err(ImportError::Unknown {
            file,
            wanted,
            known,
        });
    }
    Ok(applications)
}

fn application(
    app: &Map<String, Value>,
    file: &str,
    number: usize,
    env: Option<&str>,
) -> Result<Application, ImportError> {
    let Some(script) = command::script(app) else {
        let file = file.to_owned();
        return Err(ImportError::NoScript { file, number });
    };
    let name = name(app, &script);
    let mut draft = Draft::new(&name, file);
    let drawn =
        command::draw(app, &script, &mut draft).and_then(|()| options::draw(app, env, &mut draft));
    match drawn {
        Ok(()) => Ok(draft.finish()),
        Err(Refused {
            option,
            value,
            reason,
        }) => Err(ImportError::BadValue {
            file: file.to_owned(),
            name,
            option,
            value,
            reason: reason.to_owned(),
        }),
    }
}

/// PM2 takes `max_memory_restart` and `maxMemoryRestart` for the same.
fn normal(app: &Map<String, Value>) -> Map<String, Value> {
    let snake = |name: &String| {
        // Variables have names of their own.
        if name.starts_with("env_") {
            return name.clone();
        }
        let mut out = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    };
    app.iter()
        .map(|(name, value)| (snake(name), value.clone()))
        .collect()
}

/// A string, or a number as one.
fn word(value: &Value) -> Option<String> {
    let number = || Some(value.as_number()?.to_string());
    value.as_str().map(str::to_owned).or_else(number)
}

/// As PM2 calls it, in letters that names have.
fn name(app: &Map<String, Value>, script: &str) -> String {
    let said = app.get("name").and_then(word);
    let name = said.unwrap_or_else(|| {
        let stem = Path::new(script).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    });
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name
        .chars()
        .map(|c| if harmless(c) { c } else { '-' })
        .take(64)
        .collect();
    if name.trim_matches('.').is_empty() {
        "app".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests;
