//! What a child does on each signal.
//!
//! `TERM` drains; it is also what the kernel sends when the master dies. `QUIT` keeps its default and
//! ends the process at once. Signals that an operator or a terminal means for the master are taken and
//! dropped: `pkill -HUP myapp` reaches every process of that name. They are caught rather than ignored,
//! because an ignored signal stays ignored in programs the child starts (execve(2)).

use std::io::{self, PipeReader};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::signal::{
    SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};

const DROPPED: [i32; 7] = [SIGINT, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH];

/// Installs the handlers. The returned pipe becomes readable with each `TERM`.
pub(super) fn install() -> io::Result<PipeReader> {
    let nobody_looks = Arc::new(AtomicBool::new(false));
    for signal in DROPPED {
        signal_hook::flag::register(signal, Arc::clone(&nobody_looks))?;
    }
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    signal_hook::low_level::pipe::register(SIGTERM, writer)?;
    Ok(reader)
}
