//! A process with all that live below it.

use std::fs;

/// The process, and whoever it or they have started, as the kernel lists them (`/proc/PID/task/TID/children`,
/// proc(5)). Who comes or goes meanwhile may be missed: good for a look that is taken again.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut looked = 0;
    while let Some(pid) = found.get(looked).copied() {
        looked += 1;
        found.extend(children(pid));
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| parse(&list))
        .collect()
}

fn parse(list: &str) -> Vec<u32> {
    let pids = list.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn grandchildren_are_of_the_family() {
        // Says so when its child is there.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        shell
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        let all = family(shell.id());
        assert_eq!(all.first(), Some(&shell.id()));
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(family(std::process::id()).contains(&all[1]));
        for pid in all.iter().rev() {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        shell.wait().unwrap();
    }
}
