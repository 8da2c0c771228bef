//! Log files that were moved away are opened again: by the master, and then by every child, which writes to
//! descriptors of its own.
//!
//! Whoever is in the middle of a line finishes it in the old file, so that moving a file away loses nothing.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::Shell;

impl Shell {
    pub(super) fn reopen(&mut self) {
        self.journal.reopen();
        match self.front.reopen_log() {
            Ok(true) => {
                self.redirect_children();
                tracing::info!("the log file was opened again");
            }
            Ok(false) => tracing::info!("there is no log file to be opened again"),
            Err(error) => {
                tracing::error!(
                    "the log file cannot be opened again: {error}; the old one goes on"
                );
            }
        }
    }

    fn redirect_children(&self) {
        if self.adopted.config.single {
            // What holds for this process holds for its threads.
            return;
        }
        for (child, process) in &self.processes {
            match own_output() {
                Ok(output) => process.link.send_output(output),
                Err(error) => tracing::warn!("{child} goes on in the old log file: {error}"),
            }
        }
    }
}

/// Where this process writes.
fn own_output() -> io::Result<[OwnedFd; 2]> {
    Ok([
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stderr().as_fd().try_clone_to_owned()?,
    ])
}
