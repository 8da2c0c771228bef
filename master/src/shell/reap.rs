//! Waiting for the dead: own children of whom the supervisor has heard, and those whom others left behind.
//!
//! On a thread beside the loop, one at a time, because the kernel may take long for it (see [`ended`](crate::ended)). Only who is dead
//! already is given to that thread, and nobody else waits for a child, so each number stays its own until then.

use std::collections::HashSet;

use hatchery_protocol::beside::beside;
use rustix::process::Pid;

use super::Shell;
use crate::orphans;

impl Shell {
    /// Looks for everybody who has died and is nobody's any more.
    pub(super) fn reap_orphans(&mut self) {
        if self.adopted.config.single {
            // The children of this process are the author's, who waits for them.
            return;
        }
        let known = self.own_children();
        if self.adopted.config.program.is_some() {
            orphans::kill_left(&known);
        }
        if !self.is_reaping() {
            self.reap(&orphans::dead(&known));
        }
    }

    /// Waits for a child that was let go of. While others are waited for it is left for the next look.
    pub(super) fn reap_own(&mut self, pid: Pid) {
        if !self.adopted.config.single && !self.is_reaping() {
            self.reap(&[pid]);
        }
    }

    fn is_reaping(&self) -> bool {
        let reaping = self.reaping.as_ref();
        reaping.is_some_and(|reaping| !reaping.is_finished())
    }

    fn reap(&mut self, dead: &[Pid]) {
        if dead.is_empty() {
            return;
        }
        let theirs = dead.to_vec();
        match beside(move || orphans::reap(&theirs)) {
            Ok(reaping) => self.reaping = Some(reaping),
            // The dead count, too, where the number of threads is limited: they may be what is in the way.
            Err(_) => orphans::reap(dead),
        }
    }

    /// The last look at them. There is no loop to be held up any more.
    pub(super) fn see_off_orphans(&self) {
        if self.adopted.config.single {
            return orphans::take_along();
        }
        let known = self.own_children();
        if self.adopted.config.program.is_some() {
            orphans::kill_all_left(&known);
        }
        orphans::reap(&orphans::dead(&known));
    }

    fn own_children(&self) -> HashSet<Pid> {
        let successor = self.successor.as_ref().map(|successor| successor.pid);
        let children = self.processes.values().map(|process| process.pid);
        children.chain(successor).collect()
    }
}
