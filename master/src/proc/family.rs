//! A process with all that live below it.

use hatchery_protocol::children_of;

/// The process, and whoever it or they have started. Who comes or goes meanwhile may be missed: good for a look that
/// is taken again.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut looked = 0;
    while let Some(pid) = found.get(looked).copied() {
        looked += 1;
        let children = children_of(pid).into_iter();
        found.extend(children.map(|pid| pid.as_raw_nonzero().get().cast_unsigned()));
    }
    found
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
