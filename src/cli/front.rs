//! What a running master asks of this side: the configuration again, the log file again, and with `single` the
//! application itself.

use std::io;
use std::path::PathBuf;

use hatchery_master::{Config, Front, Part, Reread};
use hatchery_protocol::id::Role;

use super::args::Sources;
use super::start::redirect;
use super::{Kind, checked};
use crate::config;
use crate::logging::Filter;
use crate::single::Parts;

/// Everything that a start was made of.
#[derive(Debug)]
pub(super) struct Facade {
    /// The name the program was built with.
    pub(super) app: String,
    /// Whether its workers keep a program.
    pub(super) keeps_program: bool,
    /// Whether it has a configuration of its own.
    pub(super) has_section: bool,
    /// What runs in this process with `single`.
    pub(super) parts: Parts,
    /// What its command line said.
    pub(super) sources: Sources,
    /// What was done before there was a master.
    pub(super) began_with: config::Front,
    /// Where standard output and standard error go, if to a file of ours.
    pub(super) log_file: Option<PathBuf>,
    pub(super) filter: Filter,
}

impl Front for Facade {
    fn reread(&mut self) -> Result<Reread, String> {
        let kind = Kind {
            name: &self.app,
            keeps_program: self.keeps_program,
            has_section: self.has_section,
        };
        let settings =
            checked(kind, self.sources.clone()).map_err(|failure| failure.sentences.join("\n"))?;
        let (now, then) = (&settings.front, &self.began_with);
        let changes = [
            ("daemon", now.daemon != then.daemon),
            ("log_file", now.log_file != then.log_file),
        ];
        let fixed = changes.into_iter().filter(|(_, changed)| *changed);
        Ok(Reread {
            config: settings.config,
            fixed: fixed.map(|(name, _)| name).collect(),
        })
    }

    fn adopt(&mut self, config: &Config) {
        self.filter.set(&config.log_level);
    }

    fn reopen_log(&mut self) -> io::Result<bool> {
        match &self.log_file {
            Some(path) => redirect(path).map(|()| true),
            None => Ok(false),
        }
    }

    fn part(&mut self, role: Role) -> Option<Part> {
        self.parts.take(role)
    }
}
