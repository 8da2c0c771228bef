//! Which children a process has, without waiting for any of them.

use std::fs;

use rustix::process::Pid;

/// The children of this process, dead or alive, as the kernel lists them: by the thread that created them
/// or that they were given to (`/proc/PID/task/TID/children`, proc(5)). Empty where that is not to be had.
///
/// Children that come or go meanwhile may be missed: good for a look that is taken again.
pub fn children() -> Vec<Pid> {
    listed("/proc/self/task")
}

/// The same of another process; empty for one that is gone, too.
pub fn children_of(pid: u32) -> Vec<Pid> {
    listed(&format!("/proc/{pid}/task"))
}

fn listed(threads: &str) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(threads) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| parse(&list))
        .collect()
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

    #[test]
    fn a_child_is_listed_until_it_is_waited_for() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(children().contains(&pid));
        assert!(children_of(std::process::id()).contains(&pid));
        assert!(children_of(child.id()).is_empty());
        child.wait().unwrap();
        assert!(!children().contains(&pid));
    }
}
