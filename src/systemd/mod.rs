//! Unit files for systemd, from the effective configuration.
//!
//! What the configuration says decides the numbers (how long a start and a stop may take), what the service
//! needs (a port below 1024, a directory to write to) and the command line: a configuration file stays where
//! it is, and what flags and the environment said becomes flags.
//!
//! | file | idea |
//! |---|---|
//! | `command_line` | the same settings as flags |
//! | `service` | the service |
//! | `socket` | the sockets, where systemd is to open them |

mod command_line;
mod service;
mod socket;
#[cfg(test)]
mod tests;

use std::path::Path;

use hatchery_master::Listen;

use crate::config::Settings;
use command_line::CommandLine;

/// What units are made of.
pub(crate) struct Application<'a> {
    /// The executable.
    pub(crate) program: &'a Path,
    pub(crate) settings: &'a Settings,
    /// Where the settings are from that are not flags.
    pub(crate) config_file: Option<&'a Path>,
}

/// One file of systemd's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// What it has to be called.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The service, and with `sockets` the unit that opens its sockets before it.
///
/// # Errors
///
/// A sentence for each address that systemd cannot open, or not together with the others.
pub(crate) fn units(
    application: &Application<'_>,
    sockets: bool,
) -> Result<Vec<Unit>, Vec<String>> {
    let config = &application.settings.config;
    let unit = |kind: &str, text| Unit {
        name: format!("{}.{kind}", config.name),
        text,
    };
    if !sockets {
        let command = CommandLine::of(application, None);
        let service = service::text(application, &command, &config.listen, false);
        return Ok(vec![unit("service", service)]);
    }
    let socket = socket::text(config)?;
    let inherited: Vec<Listen> = socket::inherited(&config.listen);
    let command = CommandLine::of(application, Some(&inherited));
    let service = service::text(application, &command, &inherited, true);
    Ok(vec![unit("service", service), unit("socket", socket)])
}
