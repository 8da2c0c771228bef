//! New builds at the path that a cluster was started by.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;

/// Copies a program. Another process does it: a thread of this one that starts a child at that moment would give it
/// the open file, and until the child has become another program, nobody can run the copy ("text file busy").
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{} to {}", from.display(), to.display());
}

impl Cluster {
    /// Puts a copy of this file in the place of the cluster's own executable, as a deploy does: under another
    /// name first, then renamed.
    #[track_caller]
    pub fn deploy(&self, build: &Path) {
        let draft = self.plan().path("draft");
        copy_program(build, &draft);
        self.put(&draft, 0o755);
    }

    /// Puts these bytes there.
    #[track_caller]
    pub fn deploy_bytes(&self, bytes: &[u8], mode: u32) {
        let draft = self.plan().path("draft");
        fs::write(&draft, bytes).unwrap();
        self.put(&draft, mode);
    }

    /// Puts the same build there again, which does this in each worker's `start`.
    #[track_caller]
    pub fn deploy_fault(&self, original: &Path, fault: &str) {
        fs::write(self.fault_of_build(), fault).unwrap();
        self.deploy(original);
    }

    /// Lets the build that is there now be a good one.
    #[track_caller]
    pub fn mend_build(&self) {
        fs::remove_file(self.fault_of_build()).unwrap();
    }

    fn put(&self, draft: &Path, mode: u32) {
        fs::set_permissions(draft, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(draft, self.plan().program()).unwrap();
    }

    fn fault_of_build(&self) -> PathBuf {
        self.plan().program().with_extension("fault")
    }
}
