//! The only unsafe code of this crate: calls that change the process, or a thread, as a whole.
#![expect(
    unsafe_code,
    reason = "signal dispositions, the environment, scheduling, descriptors of threads and immediate exit have no safe interface"
)]

use std::io;
#[cfg(feature = "child")]
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
#[cfg(feature = "child")]
use tokio::io::{Interest, unix::AsyncFd};

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

/// Gives the calling thread, and those it starts from now on, the policy `SCHED_BATCH` if it has the usual one:
/// whoever started it with another one meant it.
///
/// # Errors
///
/// As sched_setscheduler(2), which asks for no right to this; a filter of system calls may forbid it.
pub fn schedule_as_batch() -> io::Result<()> {
    use nix::libc::{
        SCHED_BATCH, SCHED_OTHER, SYS_sched_getscheduler, SYS_sched_setscheduler, syscall,
    };

    // Not by the functions of these names: musl's refuse, as POSIX would have them change a whole process.
    // SAFETY: reads a number of the calling thread, and touches no memory of ours.
    let policy = unsafe { syscall(SYS_sched_getscheduler, 0) };
    if i32::try_from(policy) != Ok(SCHED_OTHER) {
        return Ok(());
    }
    // The kernel's `sched_param` is this number alone.
    let priority: nix::libc::c_int = 0;
    // SAFETY: the number is read during the call, and nothing else of our memory is touched.
    match unsafe { syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process at once: no destructors, no `atexit` handlers, whatever the other threads hold.
#[cfg(feature = "child")]
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) returns to nobody and touches no memory of ours.
    unsafe { nix::libc::_exit(i32::from(code)) }
}

/// Gives the calling thread a table of descriptors of its own, which is a copy of the one it shares with
/// the other threads so far. Returns those of the copies that have the numbers `owned`: here they are
/// nobody else's. The other numbers stay as usable as they were.
///
/// # Errors
///
/// As close_range(2), and then nothing has changed: `Unsupported` before Linux 5.9.
#[cfg(feature = "child")]
pub(crate) fn own_descriptors(owned: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    // The range of descriptors to close is the one number that none can have. (unshare(2) would do the
    // same, but the usual filters of containers forbid it.)
    let none = nix::libc::c_uint::MAX;
    // SAFETY: no descriptor is closed, and no memory of ours is touched.
    let done = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            none,
            none,
            nix::libc::CLOSE_RANGE_UNSHARE,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller names open descriptors, and keeps their owners from closing them until this
    // returns. Those owners live in the other table from now on, so that in this one nobody owns them.
    let own = |fd: &RawFd| unsafe { OwnedFd::from_raw_fd(*fd) };
    Ok(owned.iter().map(own).collect())
}

/// Waits on the runtime for a descriptor to be readable.
#[cfg(feature = "child")]
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watched(fd, Interest::READABLE)
}

/// Watches a descriptor on the runtime. To be called on it.
///
/// # Errors
///
/// As epoll_ctl(2): no memory, or no watches left.
#[cfg(feature = "child")]
pub fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped (I/O safety of std), and
    // the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

#[cfg(all(test, feature = "child"))]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn each_thread_closes_for_itself() {
        let (mut reader, writer) = io::pipe().unwrap();
        let number = writer.as_raw_fd();
        let thread = std::thread::spawn(move || drop(own_descriptors(&[number]).unwrap()));
        thread.join().unwrap();
        (&writer).write_all(b"still open").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still open");
    }

    #[test]
    fn what_is_opened_later_is_not_shared() {
        let (opened, to_look_at) = std::sync::mpsc::channel();
        let (ready, separated) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            own_descriptors(&[]).unwrap();
            ready.send(()).unwrap();
            let number: RawFd = to_look_at.recv().unwrap();
            std::fs::read_link(format!("/proc/thread-self/fd/{number}"))
        });
        separated.recv().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        opened.send(reader.as_raw_fd()).unwrap();
        let found = thread.join().unwrap();
        assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
