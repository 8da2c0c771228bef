//! Taking one's own children along.

use std::fs;

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Kills every other process of this process's group, which a child leads.
///
/// Not `kill(-group)`: that would reach this process too, and it still has an exit code to leave with.
/// Looks again until it finds nobody, as a process may fork while it is being killed.
pub(super) fn kill_own_group() {
    let me = getpid();
    // Not rustix's getpgid: a group may be from outside of the pid namespace, and is 0 here.
    if nix::unistd::getpgid(None).map(nix::unistd::Pid::as_raw) != Ok(me.as_raw_nonzero().get()) {
        // Not the leader: the group belongs to somebody else.
        return;
    }
    for _ in 0..8 {
        let mut found = false;
        for pid in members(me) {
            // A failure is a process that left first.
            found |= kill_process(pid, Signal::KILL).is_ok();
        }
        if !found {
            return;
        }
    }
}

/// Live processes of the group, without its leader. Empty where `/proc` is not mounted.
fn members(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != leader && is_live_member(*pid, leader))
        .collect()
}

fn is_live_member(pid: Pid, leader: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .is_ok_and(|stat| tells_live_member(&stat, leader))
}

/// `pid (comm) state ppid pgrp ...`: see proc(5). `comm` may hold anything, so this reads from its end. The
/// group of a process that is about to be reaped is -1, which is no `Pid`: numbers are compared.
fn tells_live_member(stat: &str, leader: Pid) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next();
    let group = fields.nth(1).and_then(|group| group.parse().ok());
    group == Some(leader.as_raw_nonzero().get()) && state != Some("Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_by_their_group_and_state() {
        let leader = Pid::from_raw(77).unwrap();
        for (stat, is_member) in [
            ("80 (sleep) S 77 77 5 0 -1", true),
            ("80 (a) b) R 1 77 5 0 -1", true),
            ("80 (sleep) Z 77 77 5 0 -1", false),
            ("80 (sleep) S 77 78 5 0 -1", false),
            ("80 (sleep) X 0 -1 -1 0 -1", false),
            ("80 (77) S", false),
            ("", false),
        ] {
            assert_eq!(tells_live_member(stat, leader), is_member, "{stat}");
        }
    }
}
