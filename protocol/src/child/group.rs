//! Taking one's own children along.

use std::fs;

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process};

/// Kills every other process of this process's group, which a child leads.
///
/// Not `kill(-group)`: that would reach this process too, and it still has an exit code to leave with.
/// Looks again until it finds nobody, as a process may fork while it is being killed.
pub(super) fn kill_own_group() {
    let me = getpid();
    if getpgid(None) != Ok(me) {
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

/// `pid (comm) state ppid pgrp ...`: see proc(5), `comm` may hold anything, so read from its end.
fn is_live_member(pid: Pid, leader: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else {
        return false;
    };
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next();
    let group = fields
        .nth(1)
        .and_then(|g| g.parse().ok())
        .and_then(Pid::from_raw);
    group == Some(leader) && state != Some("Z")
}
