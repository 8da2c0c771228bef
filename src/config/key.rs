//! The table of settings: what each is called, how it is read and how it is shown.
//!
//! A key has one name: `drain_timeout` in the file, `HATCHERY_DRAIN_TIMEOUT` in the environment,
//! `--drain-timeout` on the command line. Whatever treats all settings alike walks this table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hatchery_master::{CpuAffinity, CpuScheduling, Listen, Strategy};
#[cfg(feature = "program")]
use hatchery_protocol::boot::Readiness;
use hatchery_protocol::boot::{LogFormat, OnMasterDeath};
use toml::Value;

#[cfg(feature = "fleet")]
use super::fleet;
use super::layer::Layer;
#[cfg(feature = "program")]
use super::program;
use super::value::{self, Parsed, Size, Umask, Workers};

/// One setting.
pub(crate) struct Key {
    /// `snake_case`, as in the file.
    pub(crate) name: &'static str,
    /// Which kind of TOML value it is.
    pub(crate) form: Form,
    /// Reads one value into the layer. A setting that may have several takes each call as one more.
    pub(crate) read: fn(&mut Layer, &str) -> Parsed<()>,
    /// Whether the layer says it.
    pub(crate) is_set: fn(&Layer) -> bool,
    /// Copies it from the second layer to the first.
    pub(crate) copy: fn(&mut Layer, &Layer),
    /// As in the file; `None` when the layer does not say it.
    pub(crate) show: fn(&Layer) -> Option<Value>,
}

/// Which TOML values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string only.
    Text,
    /// An integer, or a string.
    Number,
    /// A string; an integer is let through to its parser, which asks for the unit.
    Time,
    /// The same, for a number of bytes.
    Size,
    /// A boolean.
    Switch,
    /// A string or an array of strings.
    List,
    /// A string or an array of strings, each taken as it is.
    #[cfg(feature = "program")]
    Words,
    /// An array of integers or strings, or one of them; a string may have several, with commas between.
    Numbers,
}

impl Key {
    /// `HATCHERY_DRAIN_TIMEOUT`.
    pub(crate) fn variable(&self) -> String {
        format!("HATCHERY_{}", self.name.to_ascii_uppercase())
    }

    /// `--drain-timeout`.
    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

macro_rules! key {
    ($name:ident, $form:ident, $parse:path) => {
        Key {
            name: stringify!($name),
            form: Form::$form,
            read: |layer, text| {
                layer.$name = Some($parse(text)?);
                Ok(())
            },
            is_set: |layer| layer.$name.is_some(),
            copy: |into, from| into.$name.clone_from(&from.$name),
            show: |layer| layer.$name.as_ref().map(Show::show),
        }
    };
}

/// Every setting, in the order of [`Layer`].
pub(crate) const KEYS: &[Key] = &[
    key!(workers, Number, value::workers),
    key!(single, Switch, value::switch),
    key!(threads, Number, value::threads),
    Key {
        read: |layer, text| {
            let listen = value::listen(text)?;
            layer.listen.get_or_insert_default().push(listen);
            Ok(())
        },
        ..key!(listen, List, no_scalar)
    },
    key!(port, Number, value::port),
    key!(strategy, Text, value::strategy),
    Key {
        read: |layer, text| {
            let weight = value::weight(text)?;
            layer.weights.get_or_insert_default().push(weight);
            Ok(())
        },
        ..key!(weights, Numbers, no_scalar_weight)
    },
    key!(user, Text, value::account),
    key!(group, Text, value::account),
    key!(umask, Text, value::umask),
    key!(nice, Number, value::nice),
    key!(cpu_affinity, Text, value::cpu_affinity),
    key!(cpu_scheduling, Text, value::cpu_scheduling),
    Key {
        read: |layer, text| {
            let fd = value::descriptor(text)?;
            layer.pass_fds.get_or_insert_default().push(fd);
            Ok(())
        },
        ..key!(pass_fds, Numbers, no_scalar_descriptor)
    },
    key!(daemon, Switch, value::switch),
    key!(name, Text, value::name),
    key!(runtime_dir, Text, value::path),
    key!(pid_file, Text, value::path),
    key!(events, Text, value::path),
    key!(log_format, Text, value::log_format),
    key!(log_file, Text, value::path),
    key!(log_level, Text, value::log_level),
    key!(agent_start_timeout, Time, value::timeout),
    key!(worker_start_timeout, Time, value::timeout),
    key!(pre_stop_delay, Time, value::duration),
    key!(drain_timeout, Time, value::duration),
    key!(lame_duck, Time, value::duration),
    key!(orphan_grace, Time, value::duration),
    key!(master_timeout, Time, value::master_timeout),
    key!(worker_timeout, Time, value::worker_timeout),
    key!(max_requests, Number, value::count_of_requests),
    key!(max_lifetime, Time, value::duration),
    key!(max_memory, Size, value::memory),
    key!(max_memory_hard, Size, value::memory),
    key!(recycle_jitter, Number, value::jitter),
    key!(surge, Number, value::surge),
    key!(exit_on_crash_loop, Switch, value::switch),
    key!(header_timeout, Time, value::timeout),
    key!(idle_timeout, Time, value::timeout),
    key!(max_header_size, Size, value::header_size),
    key!(max_connections, Number, value::limit),
    key!(max_requests_per_connection, Number, value::limit),
    key!(max_message, Size, value::message_size),
    key!(message_queue, Size, value::message_size),
    #[cfg(feature = "fleet")]
    key!(fleet, Text, fleet::address),
    #[cfg(feature = "fleet")]
    key!(fleet_user, Text, fleet::user),
    #[cfg(feature = "fleet")]
    key!(fleet_password_file, Text, value::path),
    #[cfg(feature = "fleet")]
    key!(fleet_ca_file, Text, value::path),
    #[cfg(feature = "fleet")]
    key!(fleet_lease, Time, fleet::lease),
    #[cfg(feature = "program")]
    Key {
        read: |layer, text| {
            let word = program::word(text)?;
            layer.program.get_or_insert_default().push(word);
            Ok(())
        },
        ..key!(program, Words, no_scalar_word)
    },
    #[cfg(feature = "program")]
    key!(program_dir, Text, value::path),
    #[cfg(feature = "program")]
    Key {
        read: |layer, text| {
            let variable = program::variable(text)?;
            layer.program_env.get_or_insert_default().push(variable);
            Ok(())
        },
        ..key!(program_env, Words, no_scalar_variable)
    },
    #[cfg(feature = "program")]
    key!(program_ready, Text, program::readiness),
    #[cfg(feature = "program")]
    key!(program_settle, Time, value::duration),
    #[cfg(feature = "program")]
    key!(program_stop_signal, Text, program::stop_signal),
    key!(on_master_death, Text, value::on_master_death),
];

/// Stands in the table where a setting has several values and is read one by one.
fn no_scalar(text: &str) -> Parsed<Vec<Listen>> {
    value::listen(text).map(|listen| vec![listen])
}

/// The same for weights.
fn no_scalar_weight(text: &str) -> Parsed<Vec<u32>> {
    value::weight(text).map(|weight| vec![weight])
}

/// The same for descriptors.
fn no_scalar_descriptor(text: &str) -> Parsed<Vec<i32>> {
    value::descriptor(text).map(|fd| vec![fd])
}

/// The same for words of a command.
#[cfg(feature = "program")]
fn no_scalar_word(text: &str) -> Parsed<Vec<String>> {
    program::word(text).map(|word| vec![word])
}

/// The same for variables.
#[cfg(feature = "program")]
fn no_scalar_variable(text: &str) -> Parsed<Vec<program::Variable>> {
    program::variable(text).map(|variable| vec![variable])
}

/// A value as it stands in the file.
trait Show {
    fn show(&self) -> Value;
}

impl Show for u16 {
    fn show(&self) -> Value {
        Value::Integer((*self).into())
    }
}

impl Show for u32 {
    fn show(&self) -> Value {
        Value::Integer((*self).into())
    }
}

impl Show for i32 {
    fn show(&self) -> Value {
        Value::Integer((*self).into())
    }
}

impl Show for Umask {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for CpuAffinity {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for CpuScheduling {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for u64 {
    fn show(&self) -> Value {
        // A file's integers have a sign; who would write more than half of all there are?
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Show for bool {
    fn show(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Show for Workers {
    fn show(&self) -> Value {
        match self {
            Self::Auto => Value::String(self.to_string()),
            Self::Count(count) => count.show(),
        }
    }
}

impl Show for String {
    fn show(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Show for PathBuf {
    fn show(&self) -> Value {
        Value::String(Path::to_string_lossy(self).into_owned())
    }
}

/// Nothing of an address that may hold a secret.
#[cfg(feature = "fleet")]
impl Show for fleet::FleetAddress {
    fn show(&self) -> Value {
        Value::String(self.checked().map_or_else(
            |_| "(not shown, for it cannot be used)".to_owned(),
            |address| address.to_string(),
        ))
    }
}

impl Show for Duration {
    fn show(&self) -> Value {
        Value::String(humantime::format_duration(*self).to_string())
    }
}

impl Show for Size {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for Vec<Listen> {
    fn show(&self) -> Value {
        Value::Array(
            self.iter()
                .map(|listen| Value::String(listen.to_string()))
                .collect(),
        )
    }
}

impl Show for Vec<u32> {
    fn show(&self) -> Value {
        Value::Array(self.iter().map(Show::show).collect())
    }
}

impl Show for Vec<i32> {
    fn show(&self) -> Value {
        Value::Array(self.iter().map(Show::show).collect())
    }
}

#[cfg(feature = "program")]
impl Show for Vec<String> {
    fn show(&self) -> Value {
        Value::Array(self.iter().map(Show::show).collect())
    }
}

#[cfg(feature = "program")]
impl Show for Vec<program::Variable> {
    fn show(&self) -> Value {
        let text = |variable: &program::Variable| Value::String(variable.to_string());
        Value::Array(self.iter().map(text).collect())
    }
}

#[cfg(feature = "program")]
impl Show for program::StopSignal {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

#[cfg(feature = "program")]
impl Show for Readiness {
    fn show(&self) -> Value {
        Value::String(program::readiness_name(*self).to_owned())
    }
}

impl Show for Strategy {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for LogFormat {
    fn show(&self) -> Value {
        Value::String(
            match self {
                Self::Text => "text",
                Self::Json => "json",
            }
            .into(),
        )
    }
}

impl Show for OnMasterDeath {
    fn show(&self) -> Value {
        Value::String(
            match self {
                Self::Drain => "drain",
                Self::Kill => "kill",
            }
            .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    /// A setting that is a flag but not in the table could not be set in the file, and the reverse.
    #[test]
    fn the_table_and_the_flags_are_the_same_settings() {
        let command = Layer::augment_args(clap::Command::new("x"));
        let flags: Vec<String> = command
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .map(|long| format!("--{long}"))
            .collect();
        let table: Vec<String> = KEYS.iter().map(Key::flag).collect();
        assert_eq!(flags, table);
    }

    #[test]
    fn one_name_in_three_spellings() {
        let key = KEYS.iter().find(|key| key.name == "drain_timeout").unwrap();
        assert_eq!(key.variable(), "HATCHERY_DRAIN_TIMEOUT");
        assert_eq!(key.flag(), "--drain-timeout");
    }
}
