//! What a program leaves behind: processes that it started, and that may have left its group and session.
//!
//! The keeper is a subreaper (PR_SET_CHILD_SUBREAPER(2const)): whoever loses its parent below it becomes its
//! child. So, when the program itself is gone, its children are all that is left, and when those are
//! killed, theirs are, until there is nobody.

use hatchery_protocol::children;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid,
};

/// Has orphans of the program come to this process.
///
/// # Errors
///
/// None that a Linux of this century has.
pub(crate) fn adopt() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Waits for those that have ended, but for the program itself, whose end somebody else waits for.
pub(crate) fn bury(program: Option<u32>) {
    let program = program.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    for pid in children().into_iter().filter(|pid| Some(*pid) != program) {
        let _ = waitid(WaitId::Pid(pid), ended);
    }
}

/// How many processes are left of a program that is gone itself.
pub(crate) fn count() -> usize {
    bury(None);
    children().len()
}

/// Kills whoever is left of a program that is gone itself.
pub(crate) fn kill() {
    loop {
        let left = children();
        if left.is_empty() {
            return;
        }
        for pid in left {
            // It is our child, and nobody else waits for it: the number is still its own.
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
        }
    }
}
