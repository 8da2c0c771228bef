//! What the master does on each signal.
//!
//! Handlers are there before anything else happens: for process 1 of a container the kernel drops every
//! signal that has none (kill(2)).

use std::io;

use nix::libc::{SIGTTIN, SIGTTOU};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::shell::Input;
use crate::supervisor::Scale;

/// A signal that means something to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// `TERM` or `INT`: stop in order; during a stop, at once.
    Stop(&'static str),
    /// `USR2`: let a new master take over.
    Upgrade,
    /// `QUIT`: stop at once.
    Quit,
    /// `CHLD`: a child, or somebody else's child, is gone.
    Child,
    /// `HUP`: reload.
    Reload,
    /// `USR1`: open the log file again.
    Reopen,
    /// `TTIN` or `TTOU`: one worker more or less.
    Scale(&'static str, Scale),
}

/// Installs all handlers and reports each signal.
pub(crate) fn install(inputs: &mpsc::Sender<Input>) -> io::Result<()> {
    let table = [
        (SignalKind::terminate(), Signal::Stop("SIGTERM")),
        (SignalKind::interrupt(), Signal::Stop("SIGINT")),
        (SignalKind::quit(), Signal::Quit),
        (SignalKind::child(), Signal::Child),
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::user_defined1(), Signal::Reopen),
        (SignalKind::user_defined2(), Signal::Upgrade),
        (
            SignalKind::from_raw(SIGTTIN),
            Signal::Scale("SIGTTIN", Scale::Up),
        ),
        (
            SignalKind::from_raw(SIGTTOU),
            Signal::Scale("SIGTTOU", Scale::Down),
        ),
    ];
    for (kind, meaning) in table {
        let mut stream = signal(kind)?;
        let inputs = inputs.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if inputs.send(Input::Signalled(meaning)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
