//! The only unsafe code of this crate: three calls that change the process as a whole.
#![expect(
    unsafe_code,
    reason = "signal dispositions, the environment and immediate exit have no safe interface"
)]

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// Undoes what a careless parent can leave behind: blocked signals and an ignored `SIGCHLD`, under which
/// every wait for a child fails (wait(2)). To be called first in `main`, in every role.
pub fn reset_signals() {
    // Both can only fail for a signal that does not exist.
    let _ = SigSet::empty().thread_set_mask();
    // SAFETY: the default disposition runs no code of ours, so nothing can be called at a bad moment.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
}

/// Takes a variable out of the environment, so that no grandchild sees it.
#[cfg(feature = "child")]
pub(crate) fn remove_variable(name: &str) {
    // SAFETY: called at the start of `main`, before this process has a second thread that could read the
    // environment at the same time; `App::run` documents that it has to be called there.
    unsafe { std::env::remove_var(name) };
}

/// Ends the process at once: no destructors, no `atexit` handlers, whatever the other threads hold.
#[cfg(feature = "child")]
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) returns to nobody and touches no memory of ours.
    unsafe { nix::libc::_exit(i32::from(code)) }
}
