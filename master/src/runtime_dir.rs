//! The folder where a running application can be found: its lock and its control socket.
//!
//! The lock is a flock(2), not a pid in a file: it ends with its holder, however that dies, and no
//! reused pid can be mistaken for it. The pid that the file holds is for people.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{geteuid, umask};
use thiserror::Error;

use crate::listener::{MAX_UNIX_PATH, SocketFile};

/// The control socket's file in the runtime directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// The lock's file in the runtime directory.
pub const LOCK: &str = "master.lock";

/// Where an application of this name is found when nobody says otherwise: below `$XDG_RUNTIME_DIR`,
/// else `/run` for root, else a folder of this user's in the temporary directory.
pub fn default_runtime_dir(name: &str) -> PathBuf {
    let uid = geteuid();
    let base = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_absolute() => Path::new(&dir).join("hatchery"),
        _ if uid.is_root() => PathBuf::from("/run/hatchery"),
        _ => std::env::temp_dir().join(format!("hatchery-{}", uid.as_raw())),
    };
    base.join(name)
}

/// Why a runtime directory cannot be used.
#[derive(Debug, Error)]
pub enum RuntimeDirError {
    /// The control socket's path would not fit.
    #[error(
        "the runtime directory {path} is too long: its control socket's path would have {length} bytes, a socket's has at most {MAX_UNIX_PATH}; choose a shorter one with --runtime-dir"
    )]
    TooLong {
        /// The directory.
        path: PathBuf,
        /// The length of the socket's path in bytes.
        length: usize,
    },
    /// It cannot be created, or something in it cannot.
    #[error(
        "the runtime directory {path} cannot be used: {source}; choose another with --runtime-dir"
    )]
    Unusable {
        /// The file or directory in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to another user, or others may write to it.
    #[error("the runtime directory {path} {problem}; choose another with --runtime-dir")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Another master holds the lock.
    #[error("it already runs{}, with runtime directory {path}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
        /// The holder's process id, as it wrote it.
        pid: Option<u32>,
    },
}

/// A runtime directory whose lock we hold.
#[derive(Debug)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
    /// Held as long as the open file lives, here or in a master that took over. Close-on-exec, so no child
    /// holds it after us.
    lock: File,
}

impl RuntimeDir {
    /// Creates what is missing, checks the rest and takes the lock.
    pub(crate) fn acquire(path: &Path) -> Result<Self, RuntimeDirError> {
        check(path)?;
        let lock = lock(path)?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Goes on with the lock of another master: the same open file, so that it is held without a gap.
    pub(crate) fn adopt(path: &Path, lock: OwnedFd) -> Result<Self, RuntimeDirError> {
        check(path)?;
        Ok(Self {
            path: path.to_owned(),
            lock: lock.into(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, for a master that takes over.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Says who holds the lock.
    pub(crate) fn sign(&self) {
        // On a full disk the lock still holds; only the courtesy is missing.
        let _ = sign(&self.lock);
    }

    /// Goes on with the control socket of another master. Its file is that one's, to remove at its end, until this one serves.
    pub(crate) fn adopt_control(
        &self,
        control: OwnedFd,
    ) -> Result<(UnixListener, SocketFile), RuntimeDirError> {
        let path = self.path.join(CONTROL_SOCKET);
        let unusable = |source| RuntimeDirError::Unusable {
            path: path.clone(),
            source,
        };
        let file = SocketFile::of_another(&path).map_err(unusable)?;
        Ok((control.into(), file))
    }

    /// Opens the control socket, for its owner only. Whatever has its name is stale: we hold the lock.
    /// The returned file is removed when it is dropped: from then on this application is not to be found.
    pub(crate) fn bind_control(&self) -> Result<(UnixListener, SocketFile), RuntimeDirError> {
        let path = self.path.join(CONTROL_SOCKET);
        let unusable = |source| RuntimeDirError::Unusable {
            path: path.clone(),
            source,
        };
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unusable(e)),
            _ => {}
        }
        // The mode is right from the first instant: there is no second thread yet that could create
        // files under this mask.
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        umask(before);
        let listener = listener.map_err(unusable)?;
        let file = SocketFile::of(&path).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        Ok((listener, file))
    }
}

/// Makes sure that `path` is a directory of ours that nobody else can write to.
///
/// # Errors
///
/// One sentence about what is wrong.
pub fn check_runtime_dir(path: &Path) -> Result<(), RuntimeDirError> {
    check(path)
}

fn check(path: &Path) -> Result<(), RuntimeDirError> {
    let length = path.join(CONTROL_SOCKET).as_os_str().len();
    if length > MAX_UNIX_PATH {
        return Err(RuntimeDirError::TooLong {
            path: path.to_owned(),
            length,
        });
    }
    let unusable = |source| RuntimeDirError::Unusable {
        path: path.to_owned(),
        source,
    };
    let not_ours = |problem| RuntimeDirError::NotOurs {
        path: path.to_owned(),
        problem,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(unusable)?;
    // Not followed: a link planted in a shared temporary directory must not lead us elsewhere.
    let meta = fs::symlink_metadata(path).map_err(unusable)?;
    if !meta.is_dir() {
        return Err(not_ours("is not a directory"));
    }
    if meta.uid() != geteuid().as_raw() {
        return Err(not_ours("belongs to another user"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(not_ours("can be written to by others"));
    }
    check_way_to(path)?;
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(|e| unusable(e.into()))
}

/// Whoever may rename a folder on the way to ours could put another one in its place.
fn check_way_to(path: &Path) -> Result<(), RuntimeDirError> {
    let way = path
        .canonicalize()
        .map_err(|source| RuntimeDirError::Unusable {
            path: path.to_owned(),
            source,
        })?;
    for folder in way.ancestors().skip(1) {
        let meta = fs::metadata(folder).map_err(|source| RuntimeDirError::Unusable {
            path: folder.to_owned(),
            source,
        })?;
        let trusted = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
        // In a sticky folder, as /tmp, only the owner of an entry may rename it.
        let open = meta.mode() & 0o002 != 0 && meta.mode() & 0o1000 == 0;
        if !trusted || open {
            return Err(RuntimeDirError::NotOurs {
                path: path.to_owned(),
                problem: "is below a folder that another user can change",
            });
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, RuntimeDirError> {
    let path = dir.join(LOCK);
    let unusable = |source| RuntimeDirError::Unusable {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // The pid is a courtesy: the refusal stands without it.
            let _ = file.read_to_string(&mut pid);
            return Err(RuntimeDirError::AlreadyRunning {
                path: dir.to_owned(),
                pid: pid.trim().parse().ok(),
            });
        }
        Err(e) => return Err(unusable(e.into())),
    }
    // On a full disk the lock still holds; only the courtesy is missing.
    let _ = sign(&file);
    Ok(file)
}

fn sign(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = RuntimeDir::acquire(&path).unwrap();
        let error = RuntimeDir::acquire(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        RuntimeDir::acquire(&path).unwrap();
    }

    #[test]
    fn a_lock_that_was_handed_over_outlives_its_first_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = RuntimeDir::acquire(dir.path()).unwrap();
        let lock = first.lock().try_clone_to_owned().unwrap();
        let second = RuntimeDir::adopt(dir.path(), lock).unwrap();
        drop(first);
        RuntimeDir::acquire(dir.path()).unwrap_err();
        second.sign();
        drop(second);
        RuntimeDir::acquire(dir.path()).unwrap();
    }

    #[test]
    fn the_control_socket_is_for_its_owner_only_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir::acquire(dir.path()).unwrap();
        drop(runtime.bind_control().unwrap());
        let _again = runtime.bind_control().unwrap();
        let mode = fs::metadata(dir.path().join(CONTROL_SOCKET))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn directories_that_cannot_be_trusted_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(check(&long), Err(RuntimeDirError::TooLong { .. })));
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(check(&open), Err(RuntimeDirError::NotOurs { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(check(&link).is_err());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check(&file).is_err());
    }
}
