//! Reaping what others left behind.
//!
//! The master is a subreaper, and often process 1 of a container: processes whose parents died become
//! its children, and nobody else will wait for them. It waits for each by pid, and only for those that
//! are not its own children: a `waitpid(-1)` would take away the exit status of a worker.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Reaps every zombie that `known` does not claim. Returns how many.
///
/// The kernel lists children by the thread that they were given to (proc(5), `children`).
pub(crate) fn reap(known: &HashSet<Pid>) -> usize {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return 0;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| parse(&list))
        .filter(|pid| !known.contains(pid))
        .filter(|pid| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            matches!(waitid(WaitId::Pid(*pid), options), Ok(Some(_)))
        })
        .count()
}

fn parse(list: &str) -> Vec<Pid> {
    list.split_ascii_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// All other children of this process are known, whichever test they belong to.
    fn reap_only(pid: Pid) {
        let others = fs::read_dir("/proc/self/task").unwrap().flatten();
        let lists = others.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let known = lists
            .flat_map(|list| parse(&list))
            .filter(|child| *child != pid);
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
