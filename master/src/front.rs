//! What the master asks of the program around it: it reads no configuration file itself, and owns no logger.

use std::fmt;
use std::io;

use hatchery_protocol::id::Role;

use crate::config::Config;
use crate::thread::Part;

/// The program around the master. It is asked on the master's thread, so it must answer soon.
pub trait Front: fmt::Debug {
    /// Reads the configuration again, for a reload.
    ///
    /// # Errors
    ///
    /// What is wrong with it, a sentence a line. Then nothing changes.
    fn reread(&mut self) -> Result<Reread, String>;

    /// This configuration holds from now on.
    fn adopt(&mut self, config: &Config);

    /// Opens the log file again, by its name, and puts it in the place of standard output and standard error.
    /// `false`: there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be opened. Then the old one stays.
    fn reopen_log(&mut self) -> io::Result<bool>;

    /// The code of a role, for a master whose children are threads of its process
    /// ([`Config::single`](crate::Config::single)). Each is given out once.
    fn part(&mut self, role: Role) -> Option<Part>;
}

/// A configuration that was read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reread {
    /// What the sources say now.
    pub config: Config,
    /// The names of settings that have changed, are not in `config`, and cannot change while the master runs.
    pub fixed: Vec<&'static str>,
}
