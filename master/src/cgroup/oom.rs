//! Whether the kernel killed for want of memory.
//!
//! A process that dies of SIGKILL does not know who sent it, and its parent does not either. The control group
//! counts its own: where that count has risen, the question is answered.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Place, Version};

/// Kills at the same moment are one event: whoever is reaped second still belongs to it.
const MOMENT: Duration = Duration::from_secs(2);

/// The count of processes that were killed in this master's group.
#[derive(Debug)]
pub(crate) struct OomCounter {
    /// Where it is; `None`: nobody counts here.
    file: Option<PathBuf>,
    /// As of the last look.
    count: u64,
    /// The last rise: from, to, and when it was seen.
    risen: Option<(u64, u64, Duration)>,
}

impl OomCounter {
    /// From now on.
    pub(crate) fn new() -> Self {
        Self::of(Path::new("/proc/self"))
    }

    fn of(process: &Path) -> Self {
        let file = Place::find(process, "memory").map(|place| match place.version {
            Version::V2 => place.group.join("memory.events"),
            Version::V1 => place.group.join("memory.oom_control"),
        });
        let first = file.as_deref().and_then(read);
        Self {
            file: first.and(file),
            count: first.unwrap_or(0),
            risen: None,
        }
    }

    /// What is to be said about a death by SIGKILL that nobody here brought about, if anything.
    pub(crate) fn explain(&mut self, now: Duration) -> Option<String> {
        let Some(count) = self.file.as_deref().and_then(read) else {
            return Some("perhaps by the kernel, for want of memory".to_owned());
        };
        if count > self.count {
            self.risen = Some((self.count, count, now));
        }
        self.count = count;
        let (from, to, at) = self.risen?;
        (now.saturating_sub(at) <= MOMENT)
            .then(|| format!("the kernel's OOM killer was at work: oom_kill {from} -> {to}"))
    }
}

/// Both files have a line `oom_kill 3`.
fn read(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, V1, V2};
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_count_that_rose_explains_the_deaths_of_that_moment() {
        let tree = Tree::new("0::/a\n", V2).write("v2/a/memory.events", "oom 1\noom_kill 3\n");
        let mut counter = OomCounter::of(tree.0.path());
        assert_eq!(counter.explain(s(1)), None, "somebody else killed it");
        let tree = tree.write(
            "v2/a/memory.events",
            "oom 2\noom_kill 5\noom_group_kill 0\n",
        );
        let told = counter.explain(s(9));
        assert_eq!(
            told.as_deref(),
            Some("the kernel's OOM killer was at work: oom_kill 3 -> 5")
        );
        assert_eq!(counter.explain(s(10)), told, "the other one of the two");
        assert_eq!(counter.explain(s(60)), None);
        drop(tree);
    }

    #[test]
    fn the_older_version_counts_too() {
        let text = |n| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {n}\n");
        let tree = Tree::new("2:memory:/a\n", V1).write("v1/memory/a/memory.oom_control", &text(0));
        let mut counter = OomCounter::of(tree.0.path());
        let _tree = tree.write("v1/memory/a/memory.oom_control", &text(1));
        assert!(counter.explain(s(1)).unwrap().ends_with("oom_kill 0 -> 1"));
    }

    #[test]
    fn where_nobody_counts_it_may_have_been() {
        let tree = Tree::new("0::/a\n", V2).write("v2/a/memory.events", "low 0\n");
        let mut counter = OomCounter::of(tree.0.path());
        assert!(counter.explain(s(1)).unwrap().starts_with("perhaps"));
    }
}
