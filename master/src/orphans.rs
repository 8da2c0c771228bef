//! Reaping what others left behind.
//!
//! The master is a subreaper, and often process 1 of a container: processes whose parents died become
//! its children, and nobody else will wait for them. It waits for each by pid, and only for those that
//! are not its own children: a `waitpid(-1)` would take away the exit status of a worker.

use std::collections::HashSet;

use hatchery_protocol::children;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Reaps every zombie that is not `known`. Returns how many.
pub(crate) fn reap(known: &HashSet<Pid>) -> usize {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    children()
        .into_iter()
        .filter(|pid| !known.contains(pid))
        .filter(|pid| matches!(waitid(WaitId::Pid(*pid), options), Ok(Some(_))))
        .count()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// All other children of this process are known, whichever test they belong to.
    fn reap_only(pid: Pid) {
        let known = children().into_iter().filter(|child| *child != pid);
        reap(&known.collect());
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
}
