//! Reaping what others left behind.
//!
//! The master is a subreaper, and often process 1 of a container: processes whose parents died become
//! its children, and nobody else will wait for them. It waits for each by pid, and only for those that
//! are not its own children: a `waitpid(-1)` would take away the exit status of a worker.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::Duration;

use hatchery_protocol::boot::ENV_SLOT;
use hatchery_protocol::children;
use hatchery_protocol::clock::monotonic;
// Not rustix's: a group may be from outside of the pid namespace, and is 0 here.
use nix::unistd::getpgid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid,
};

use crate::ended::look;
use crate::proc::is_becoming;

/// How long the end of a master waits for those whom it has killed, or cannot tell apart yet.
const FAREWELL: Duration = Duration::from_secs(2);

/// Every zombie that is not `known`.
pub(crate) fn dead(known: &HashSet<Pid>) -> Vec<Pid> {
    children()
        .into_iter()
        .filter(|pid| !known.contains(pid))
        .filter(|pid| look(WaitId::Pid(*pid)).is_some())
        .collect()
}

/// Waits for the dead, which may take the kernel seconds. Who lives is let be.
pub(crate) fn reap(dead: &[Pid]) {
    for pid in dead {
        // Somebody else may have waited for it.
        let _ = waitid(
            WaitId::Pid(*pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
    }
}

/// Kills those that are left of a program whose keeper was killed, with all that detached itself. A keeper's death
/// brings them here, and nobody else's are killed: they are known by a variable that their keeper gave them.
/// Who dies leaves its own children to us, and is told by a signal: then it is time to look again. Returns whom.
pub(crate) fn kill_left(known: &HashSet<Pid>) -> Vec<Pid> {
    children()
        .into_iter()
        .filter(|pid| !known.contains(pid) && was_kept(*pid))
        // Nobody has waited for it yet, so the number is its own.
        .filter(|pid| kill_process(*pid, Signal::KILL).is_ok())
        .collect()
}

/// The same as the last act of a master, which nobody looks after again.
pub(crate) fn kill_all_left(known: &HashSet<Pid>) {
    until_nobody_is_left(|| {
        until_everybody_is_told_apart(known);
        kill_left(known)
    });
}

/// Kills what the author's code has started in this very process and left in its group, before the process ends: the last
/// act of a master whose children are its threads. What these had started comes here when they die, and goes, too.
pub(crate) fn take_along() {
    let group = getpgid(None);
    let group_of =
        |pid: &Pid| getpgid(Some(nix::unistd::Pid::from_raw(pid.as_raw_nonzero().get())));
    let _ = set_child_subreaper(Some(getpid()));
    until_nobody_is_left(|| {
        children()
            .into_iter()
            .filter(|pid| group_of(pid) == group)
            .filter(|pid| kill_exactly(*pid))
            .collect()
    });
}

/// Waits until nobody is becoming another program: for that moment it has no variables, and nobody could tell whose it is.
fn until_everybody_is_told_apart(known: &HashSet<Pid>) {
    let end = monotonic() + FAREWELL;
    let becoming =
        |pid: &Pid| !known.contains(pid) && is_becoming(pid.as_raw_nonzero().get().cast_unsigned());
    while children().iter().any(becoming) && monotonic() < end {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Kills and waits for those who were killed, again for those who come here or were started meanwhile, and not for ever:
/// one may be in a system call that does not end.
fn until_nobody_is_left(kill: impl Fn() -> Vec<Pid>) {
    let end = monotonic() + FAREWELL;
    loop {
        let killed = kill();
        if killed.is_empty() || monotonic() >= end {
            return;
        }
        for pid in killed {
            wait_until(pid, end);
        }
    }
}

/// Waits for a child that was killed, until then at most.
fn wait_until(pid: Pid, end: Duration) {
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
        let patience = end.saturating_sub(monotonic());
        let mut dead = [PollFd::new(&process, PollFlags::IN)];
        let _ = poll(&mut dead, Timespec::try_from(patience).ok().as_ref());
    }
    // Whether it is dead or not.
    reap(&[pid]);
}

/// The author's threads may be waiting for it, so its number may be another's by now: of one that is still a child
/// after it was opened, it is not.
fn kill_exactly(pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    children().contains(&pid) && pidfd_send_signal(process, Signal::KILL).is_ok()
}

/// Whether a keeper started it, or somebody below. Nobody can tell of one that has ended already, or that
/// [is becoming](is_becoming) another program.
fn was_kept(pid: Pid) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    let mark = format!("{ENV_SLOT}=");
    environment.is_ok_and(|variables| {
        let mut variables = variables.split(|byte| *byte == 0);
        variables.any(|variable| variable.starts_with(mark.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// All other children of this process are known, whichever test they belong to.
    fn reap_only(pid: Pid) {
        let known = children().into_iter().filter(|child| *child != pid);
        reap(&dead(&known.collect()));
    }

    #[test]
    fn only_unknown_children_are_reaped() {
        let mut ours = Command::new("true").spawn().unwrap();
        #[expect(clippy::zombie_processes, reason = "the code under test waits for it")]
        let theirs = Command::new("true").spawn().unwrap();
        let id = |n: u32| Pid::from_raw(n.cast_signed()).unwrap();
        for pid in [id(ours.id()), id(theirs.id())] {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), options).unwrap();
        }
        reap_only(id(theirs.id()));
        assert!(ours.wait().unwrap().success(), "its status is still there");
        let gone = waitid(WaitId::Pid(id(theirs.id())), WaitIdOptions::EXITED);
        assert!(gone.is_err(), "it was reaped");
    }

    #[test]
    fn only_what_a_keeper_left_is_killed() {
        let sleep = |mark: &str| {
            let mut command = Command::new("sleep");
            command.arg("60").env(mark, "0").spawn().unwrap()
        };
        let id = |n: u32| Pid::from_raw(n.cast_signed()).unwrap();
        // All but these belong to other tests.
        let but = |ours: &[Pid]| -> HashSet<Pid> {
            let all = children().into_iter();
            all.filter(|pid| !ours.contains(pid)).collect()
        };
        let (mut kept, mut other) = (sleep(ENV_SLOT), sleep("OTHER"));
        let ours = [id(kept.id()), id(other.id())];
        until_everybody_is_told_apart(&but(&ours));
        assert_eq!(kill_left(&but(&ours)), ours[..1]);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(ours[0]), options).unwrap();
        assert_eq!(kill_left(&but(&ours)), [], "it is dead");
        assert_eq!(dead(&but(&ours)), ours[..1]);
        reap(&ours);
        assert!(kept.wait().is_err(), "it was waited for");

        let mut last = sleep(ENV_SLOT);
        kill_all_left(&but(&[id(last.id()), ours[1]]));
        assert!(last.wait().is_err(), "it was waited for");
        assert!(other.try_wait().unwrap().is_none(), "it is nobody's");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
