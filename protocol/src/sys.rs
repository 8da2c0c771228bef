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

/// Reads a variable and takes it out of the environment, so that no grandchild sees it.
///
/// To be called at the start of `main`, before the process has a second thread: the environment is
/// shared by all threads and the C library reads it without a lock.
pub fn take_variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    // SAFETY: the process has one thread, as documented above; `App::run` documents the same for the
    // `main` of an application.
    unsafe { std::env::remove_var(name) };
    Some(value.to_string_lossy().into_owned())
}

/// Ends the process at once: no destructors, no `atexit` handlers, whatever the other threads hold.
#[cfg(feature = "child")]
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) returns to nobody and touches no memory of ours.
    unsafe { nix::libc::_exit(i32::from(code)) }
}
