//! A thread of somebody else's that stands still, as it may on a machine that is too busy.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::process;

/// Held as a debugger does, until this goes out of scope: by the thread that has made it.
#[derive(Debug)]
pub struct Held(Pid);

impl Held {
    /// The first thread of this name.
    #[track_caller]
    pub fn thread(pid: u32, name: &str) -> Self {
        let thread = process::thread(pid, name).unwrap_or_else(|| panic!("{pid} has no {name}"));
        let number = thread.file_name().unwrap().to_str().unwrap();
        Self::hold(number.parse().unwrap())
    }

    /// The thread that a process began with.
    #[track_caller]
    pub fn main_thread(pid: u32) -> Self {
        Self::hold(pid.try_into().unwrap())
    }

    #[track_caller]
    fn hold(thread: i32) -> Self {
        let thread = Pid::from_raw(thread);
        ptrace::attach(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if ptrace::detach(self.0, None).is_ok() {
            return;
        }
        // It has died with its process, which is not gone before somebody has looked.
        while let Ok(WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..)) =
            waitpid(self.0, Some(WaitPidFlag::__WALL))
        {}
    }
}
