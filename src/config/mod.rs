//! From flags, variables and a file to one configuration.
//!
//! ```text
//!  default  <  file (--config)  <  environment (HATCHERY_*)  <  flag
//!     └────────────┴─── one Layer each, laid over each other ──┘
//!                              Settings
//!
//!              [app]   <  HATCHERY_APP__*       the application's own: a Section
//! ```
//!
//! A source never half counts: all that is wrong, in whichever source, is collected and told at once,
//! each in a sentence that names the key and the source.

mod attributes;
mod certificates;
mod contradictions;
mod environment;
mod error;
mod file;
#[cfg(feature = "fleet")]
mod fleet;
mod key;
mod layer;
mod paths;
mod print;
#[cfg(feature = "program")]
mod program;
mod said;
mod section;
mod settings;
mod single;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(crate) use attributes::unusable_attributes;
pub(crate) use certificates::unusable_certificates;
pub(crate) use contradictions::contradictions;
pub(crate) use error::ConfigError;
#[cfg(feature = "fleet")]
pub(crate) use fleet::unusable_fleet;
#[cfg(all(test, feature = "fleet", feature = "program"))]
pub(crate) use key::Form;
pub(crate) use key::Key;
pub(crate) use layer::Layer;
pub(crate) use paths::unusable_places;
pub(crate) use print::to_toml;
#[cfg(feature = "program")]
pub(crate) use program::unusable_program;
pub(crate) use settings::{Front, Settings};
pub(crate) use value::{
    name as check_name, path as path_value, scale as scale_value, timeout as timeout_value,
};

use said::Said;
pub(crate) use source::Source;

/// Without the feature there is no fleet that could be unusable.
#[cfg(not(feature = "fleet"))]
pub(crate) const fn unusable_fleet(_: &Settings) -> Option<String> {
    None
}

/// Without the feature no program is named.
#[cfg(not(feature = "program"))]
pub(crate) const fn unusable_program(_: &Settings) -> Option<String> {
    None
}

/// Every setting.
pub(crate) const fn keys() -> &'static [Key] {
    key::KEYS
}

/// What is read.
#[derive(Debug)]
pub(crate) struct Inputs<'a, E> {
    /// The name the program was built with.
    pub(crate) app: &'a str,
    /// What the command line says.
    pub(crate) flags: Layer,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// Whether it has a configuration of its own.
    pub(crate) has_section: bool,
    /// The environment, as a parameter so that no test has to change the process's own.
    pub(crate) environment: E,
    /// What relative paths are relative to.
    pub(crate) cwd: &'a Path,
}

/// Reads all sources. The settings leave out whatever there is a problem with.
pub(crate) fn load<E>(inputs: Inputs<'_, E>) -> (Settings, Vec<ConfigError>)
where
    E: IntoIterator<Item = (OsString, OsString)>,
{
    let (variables, environment): (Vec<_>, Vec<_>) = inputs
        .environment
        .into_iter()
        .partition(|(name, _)| section::is_variable(name));
    let (environment, named) = environment::read(environment);
    let config = match (inputs.config, named) {
        (Some(path), _) => Some((path, Source::Flag("--config".into()))),
        (None, Some(path)) => Some((path, Source::Environment("HATCHERY_CONFIG".into()))),
        (None, None) => None,
    };
    let config = config.map(|(path, named_by)| (inputs.cwd.join(path), named_by));
    let mut said = match &config {
        Some((path, named_by)) => file::read(path, named_by.clone()),
        None => Said::default(),
    };
    let mut merge = section::Merge {
        file: config.map(|(path, _)| path),
        table: said.section.take(),
        problems: Vec::new(),
    };
    let section = if inputs.has_section {
        merge.with(variables)
    } else {
        merge.refuse(&variables);
        None
    };
    said.problems.append(&mut merge.problems);
    said.cover_with(environment);
    let mut flags = Said::from_flags(inputs.flags);
    flags.settle_port(&Source::Flag("--port and --listen".into()));
    said.cover_with(flags);
    let settings = Settings::new(said.layer, said.sources, section, inputs.app, inputs.cwd);
    (settings, said.problems)
}
