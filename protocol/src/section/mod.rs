//! The application's own configuration: the section `[app]` of the configuration file, with what the environment says laid
//! over it.
//!
//! ```text
//!  [app] of the file ─┐
//!  HATCHERY_APP__... ─┴─ merged by the command ── Section ── master ── link ── agent, workers
//!                              │                 (carries it)                      │
//!                        read as the author's type: `check`, `start`        read as it again
//! ```
//!
//! The master knows the names in here and not what they mean: it runs no author's code. What reads a section is `read`,
//! in processes that are the application itself.
//!
//! No value is shown by anything in here, since any may be a password: not by `Debug`, and not in an error.

mod error;
mod place;
mod read;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Number;

pub use error::ConfigError;
use place::Step;
pub use place::{PREFIX, normal};
use read::Node;

/// What the section is called.
pub const NAME: &str = "app";

/// How many bytes a section may have, as it travels: it comes with each process's first message.
pub const MAX_SIZE: usize = 64 * 1024;

/// How deep tables and arrays may be nested, the section itself included.
pub const MAX_DEPTH: usize = 16;

/// Names and what they stand for.
pub type Table = BTreeMap<String, Value>;

/// One value of a section.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Text, in the file. Times and dates are, too.
    Text(String),
    /// A number, in the file.
    Number(Number),
    /// True or false, in the file.
    Switch(bool),
    /// An array, in the file.
    List(Vec<Value>),
    /// A table, whoever says what is in it.
    Table(Table),
    /// What a variable says. It has no type but that of the field that takes it.
    Variable(String),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => table.fmt(f),
            Self::Text(_)
            | Self::Number(_)
            | Self::Switch(_)
            | Self::List(_)
            | Self::Variable(_) => f.write_str(".."),
        }
    }
}

/// The application's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// A table.
    values: Value,
    /// The configuration file, if there is one, for sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Default for Section {
    fn default() -> Self {
        Self::new(Table::new(), None)
    }
}

/// Says what is wrong with a section, if anything. Runs the author's code.
pub type Judge = fn(&Section) -> Result<(), ConfigError>;

impl Section {
    /// What was said, and in which file if there is one.
    pub const fn new(values: Table, file: Option<String>) -> Self {
        Self {
            values: Value::Table(values),
            file,
        }
    }

    const fn table(&self) -> Option<&Table> {
        match &self.values {
            Value::Table(table) => Some(table),
            Value::Text(_)
            | Value::Number(_)
            | Value::Switch(_)
            | Value::List(_)
            | Value::Variable(_) => None,
        }
    }

    /// The section as a value of the author's type.
    ///
    /// Keys that the type does not have are refused, whether it says `deny_unknown_fields` or not; those of a struct
    /// are found with `-` for `_`, too.
    ///
    /// # Errors
    ///
    /// What is wrong, where it stands, and what should stand there.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        T::deserialize(Node(&self.values)).map_err(|refusal| refusal.in_section(self))
    }

    /// How many bytes it has, as it travels.
    pub fn size(&self) -> usize {
        // What holds text and numbers alone always serializes.
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }

    /// The variables that say something of it.
    pub fn variables(&self) -> Vec<String> {
        let said = |path: &Vec<Step>| place::variable_at(path, self);
        self.paths().iter().filter_map(said).collect()
    }

    /// Every key that has a value, as `app.database.port`, and who says it.
    pub fn keys(&self) -> Vec<(String, String)> {
        let told = |path: &Vec<Step>| (place::key(path), place::origin(path, self));
        self.paths().iter().map(told).collect()
    }

    fn paths(&self) -> Vec<Vec<Step>> {
        let mut paths = Vec::new();
        if let Some(table) = self.table() {
            place::leaves(table, &mut Vec::new(), &mut paths);
        }
        paths
    }
}

#[cfg(test)]
mod tests;
