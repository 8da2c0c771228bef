//! The same settings, as the command line of a unit.

use std::path::Path;

use hatchery_master::Listen;
use toml::Value;

use super::Application;
use crate::config::{Settings, Source, keys};

/// Settings that mean something else under systemd: a service stays in the foreground.
const LEFT_OUT: &[&str] = &["daemon"];

/// The words of `ExecStart=` and its like, quoted.
pub(super) struct CommandLine {
    program: String,
    start: Vec<String>,
    /// `RuntimeDirectory=`, where the operator did not choose a directory.
    pub(super) runtime_directory: Option<String>,
    runtime_dir: String,
}

impl CommandLine {
    /// `listen` in place of the addresses that the settings name.
    pub(super) fn of(application: &Application<'_>, listen: Option<&[Listen]>) -> Self {
        let settings = application.settings;
        let config = &settings.config;
        let chosen = settings.sources.contains_key("runtime_dir");
        let runtime_directory = (!chosen).then(|| format!("hatchery/{}", config.name));
        let runtime_dir = match &runtime_directory {
            // `%t` is /run, or a user's own.
            Some(below) => format!("--runtime-dir=%t/{below}"),
            None => quoted(&format!("--runtime-dir={}", config.runtime_dir.display())),
        };
        let mut start = Vec::new();
        if let Some(file) = application.config_file {
            start.push(quoted(&format!("--config={}", file.display())));
        }
        if !chosen {
            start.push(runtime_dir.clone());
        }
        start.extend(flags(settings, listen.is_some()));
        let listen = listen.into_iter().flatten();
        start.extend(listen.map(|listen| quoted(&format!("--listen={listen}"))));
        Self {
            program: quoted(&path(application.program)),
            start,
            runtime_directory,
            runtime_dir,
        }
    }

    pub(super) fn start(&self) -> String {
        std::iter::once(format!("{} start", self.program))
            .chain(self.start.iter().cloned())
            .collect::<Vec<_>>()
            .join(" \\\n    ")
    }

    /// A command for the application that runs.
    pub(super) fn verb(&self, verb: &str) -> String {
        format!("{} {verb} {}", self.program, self.runtime_dir)
    }
}

/// Everything that a flag or a variable said, as flags. The file says the rest.
fn flags(settings: &Settings, without_listen: bool) -> Vec<String> {
    let layer = settings.to_layer();
    let said = keys().iter().filter(|key| {
        let source = settings.sources.get(key.name);
        matches!(source, Some(Source::Flag(_) | Source::Environment(_)))
    });
    said.filter(|key| !LEFT_OUT.contains(&key.name))
        .filter(|key| !(without_listen && key.name == "listen"))
        .filter_map(|key| Some((key.flag(), (key.show)(&layer)?)))
        .flat_map(|(flag, value)| {
            values(value)
                .into_iter()
                .map(move |value| quoted(&format!("{flag}={value}")))
        })
        .collect()
}

/// A flag with several values is given several times.
fn values(value: Value) -> Vec<String> {
    if let Value::Array(items) = value {
        return items.into_iter().flat_map(values).collect();
    }
    vec![
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    ]
}

pub(super) fn path(path: &Path) -> String {
    path.display().to_string()
}

/// As systemd.syntax(7) and systemd.service(5) read it: specifiers, variables, spaces, quotes.
pub(super) fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%$?&[]#+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
