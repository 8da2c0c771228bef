//! How files look to whoever agent and workers are.
//!
//! Rights are more than the bits of a mode: lists, mounts and security modules have a say. So the kernel is
//! asked, by a thread that becomes that user for a moment and ends.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{dumpable_behavior, set_dumpable_behavior};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::Account;

/// Does something with the rights of somebody else, on a thread of its own.
///
/// # Errors
///
/// This process may not become that user, or has no room for a thread.
pub fn look_as<T: Send>(account: &Account, look: impl FnOnce() -> T + Send) -> io::Result<T> {
    let identity = &account.identity;
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    // It belongs to the memory that all threads share, and a change of user takes it.
    let dumpable = dumpable_behavior();
    let seen = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            set_thread_groups(&groups)?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            Ok(look())
        })?;
        let lost = |_| Err(io::Error::other("the look at it went wrong"));
        thread.join().unwrap_or_else(lost)
    });
    if let Ok(dumpable) = dumpable {
        let _ = set_dumpable_behavior(dumpable);
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::attributes::RunAs;

    #[test]
    fn others_see_less_and_this_process_stays_what_it_is() {
        let nobody = RunAs {
            user: Some("nobody".to_owned()),
            group: None,
        };
        // Without the rights of root there is nobody to look as.
        let Ok(Some(nobody)) = nobody.find() else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "secret").unwrap();
        let mode =
            |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(folder.path(), 0o755);
        mode(&file, 0o600);
        let look = || look_as(&nobody, || File::open(&file).map(drop)).unwrap();
        let refused = look().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        mode(&file, 0o644);
        assert!(look().is_ok());
        File::open(&file).unwrap();
        assert!(rustix::process::geteuid().is_root());
    }
}
