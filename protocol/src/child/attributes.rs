//! Becoming what the master says this process is to be: before any of the author's code, and before there
//! is a second thread.
//!
//! Not done for it between fork and exec: std would then have to fork instead of posix_spawn(3). So a few
//! lines of this program run with the master's rights, and the author's `main` up to `App::run`.
//!
//! The order matters. CPUs and priority first, as they may need rights. Then the groups, while the user
//! still may change them; the user last. A user who is not root keeps no capability, and it is tried out
//! that there is no way back. The change of user has cleared the parent-death signal, which is armed again,
//! and made the process undumpable: a worker of an ordinary user is to have core dumps and debuggers of that
//! user, as nginx's do.

use std::io;

use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, setpriority_process};
use rustix::thread::{
    CapabilitySet, CapabilitySets, CpuSet, clear_ambient_capability_set, sched_setaffinity,
    set_capabilities, set_no_new_privs,
};
use thiserror::Error;

use crate::attributes::{Attributes, Identity};
use crate::schedule_as_batch;

/// What could not be taken on.
#[derive(Debug, Error)]
#[error("{what}: {source}")]
pub struct AttributeError {
    what: String,
    source: io::Error,
}

fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> AttributeError {
    let what = what.into();
    |error| AttributeError {
        what,
        source: error.into(),
    }
}

/// Takes all of it on. The parent-death signal has to be armed afterwards, whatever came of this.
pub(super) fn take_on(attributes: &Attributes) -> Result<(), AttributeError> {
    settle(&attributes.cpus);
    if attributes.batch {
        // A kernel or a filter of system calls that refuses takes nothing but speed.
        let _ = schedule_as_batch();
    }
    if let Some(nice) = attributes.nice {
        setpriority_process(None, nice).map_err(failed(format!("`nice` cannot be {nice}")))?;
    }
    if let Some(identity) = &attributes.identity {
        become_other(identity)?;
    }
    // No program that this one starts has more rights than it, whatever its file says.
    set_no_new_privs(true).map_err(failed("no_new_privs cannot be set"))
}

/// The CPUs that a process may use can be taken away while the cluster runs (cpuset(7)). A process that
/// runs elsewhere is better than one that does not run.
fn settle(cpus: &[u32]) {
    if cpus.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        if let Ok(cpu) = usize::try_from(*cpu)
            && cpu < CpuSet::MAX_CPU
        {
            set.set(cpu);
        }
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        let line = format!("warning: this process is not bound to CPU {cpus:?}: {error}\n");
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    }
}

fn become_other(identity: &Identity) -> Result<(), AttributeError> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(failed("its groups cannot be set"))?;
    setresgid(gid, gid, gid).map_err(failed(format!("it cannot have group {gid}")))?;
    setresuid(uid, uid, uid).map_err(failed(format!("it cannot be user {uid}")))?;
    if !uid.is_root() {
        give_up_capabilities()?;
    }
    verify(identity)?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(failed("it cannot be made dumpable again"))
}

/// The kernel takes them from root who becomes another. A user with capabilities keeps them, and with them a
/// way back.
fn give_up_capabilities() -> Result<(), AttributeError> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    clear_ambient_capability_set()
        .and_then(|()| set_capabilities(None, sets))
        .map_err(failed("its capabilities cannot be given up"))
}

/// Trusts nothing that was answered: a filter of system calls may lie.
fn verify(identity: &Identity) -> Result<(), AttributeError> {
    let lie = |what: &str| {
        Err(failed(what.to_owned())(io::Error::other(
            "yet nothing failed",
        )))
    };
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let users = getresuid().map_err(failed("its user cannot be read"))?;
    if [users.real, users.effective, users.saved] != [uid; 3] {
        return lie("it is still another user");
    }
    let groups = getresgid().map_err(failed("its group cannot be read"))?;
    if [groups.real, groups.effective, groups.saved] != [gid; 3] {
        return lie("it still has another group");
    }
    let root = Uid::from_raw(0);
    if !uid.is_root() && setresuid(root, root, root).is_ok() {
        return lie("it can be root again");
    }
    Ok(())
}
