//! How a child process ended, looked up without waiting for it.
//!
//! Waiting for a dead process also makes the kernel take it down, and that can take long: it clears away what everybody has looked
//! up below `/proc/PID`, and turns in a circle until others who do the same have done their part. On a busy machine that was fifteen
//! seconds, without a beat, for a call that is told not to wait (`WNOHANG`). So the control loop only looks (`WNOWAIT`), and
//! the dead are [waited for](crate::shell) on a thread beside it.

use std::os::fd::AsFd;

use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::supervisor::Status;

/// Of the child that this pidfd names. It stays a zombie, and its number and its group's stay its own.
pub(crate) fn how_it_ended(pidfd: impl AsFd) -> Status {
    look(WaitId::PidFd(pidfd.as_fd())).map_or(Status::Unknown, |status| {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Status::Code(code),
            (None, Some(signal)) => Status::Signal(signal),
            (None, None) => Status::Unknown,
        }
    })
}

/// What there is to say about the end of a child. `None`: it lives, or somebody has waited for it.
pub(crate) fn look(child: WaitId<'_>) -> Option<WaitIdStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(child, options).ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn an_end_can_be_looked_up_twice_and_waited_for_after_that() {
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).unwrap();
        assert_eq!(how_it_ended(&pidfd), Status::Code(3));
        assert_eq!(how_it_ended(&pidfd), Status::Code(3));
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(how_it_ended(&pidfd), Status::Unknown, "it was waited for");
    }

    #[test]
    fn who_lives_has_not_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(look(WaitId::Pid(pid)).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
