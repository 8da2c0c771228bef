//! Which program the processes of a generation run.
//!
//! The first generation runs `/proc/self/exe`: the program that the master itself is, also when its file was
//! replaced or removed since. A reload runs what is *now* at the path the master was started by. It is opened
//! once and run through that descriptor, so that all processes of a generation are one build, whatever is put
//! at the path meanwhile. Links on the way are followed anew at each reload: a deploy may swap one.
//!
//! What cannot be a program of ours is refused here, with a sentence, before any process is touched. What only
//! the kernel knows, it says when the first process is made: see [`explain`].

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, open};
use rustix::io::Errno;
use thiserror::Error;

/// The program of this process, as the kernel names it.
const RUNNING: &str = "/proc/self/exe";
/// What [`std::env::current_exe`] appends to the path of a file that is gone.
const DELETED: &str = " (deleted)";

/// Why a file cannot be the program of a new generation.
#[derive(Debug, Error)]
pub(crate) enum ExecutableError {
    #[error("there is no {0}; put the new executable there and try again")]
    Missing(PathBuf),
    #[error("{path} cannot be opened: {source}")]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("{0} is not a regular file; put the new executable there and try again")]
    NotAFile(PathBuf),
    #[error("{0} is not executable for this user; allow it (chmod +x) and try again")]
    NotExecutable(PathBuf),
    #[error("{path} is not a program for this machine: {why}")]
    Foreign { path: PathBuf, why: String },
}

/// Where the program is on disk: a path that is looked up anew whenever it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program(PathBuf);

impl Program {
    /// The path by which this process was started: by its first argument if that names this very file, else by
    /// what the kernel says. To be called early, before somebody changes the directory or the file.
    pub(crate) fn of_this_process() -> Self {
        let named = std::env::args_os().next().and_then(|name| {
            let places = std::env::var_os("PATH").unwrap_or_default();
            let cwd = std::env::current_dir().ok()?;
            find(&name, &places, &cwd, &fs::metadata(RUNNING).ok()?)
        });
        Self(named.unwrap_or_else(|| {
            let path = std::env::current_exe().unwrap_or_else(|_| RUNNING.into());
            let text = path.to_string_lossy();
            text.strip_suffix(DELETED).map_or(path.clone(), Into::into)
        }))
    }

    /// The path itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Opens what is there now, if it can be run.
    pub(crate) fn open(&self) -> Result<Executable, ExecutableError> {
        let path = || self.0.clone();
        let file =
            open(&self.0, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
                match error {
                    Errno::NOENT | Errno::NOTDIR => ExecutableError::Missing(path()),
                    other => ExecutableError::Unreachable {
                        path: path(),
                        source: other.into(),
                    },
                }
            })?;
        let unreachable = |error: Errno| ExecutableError::Unreachable {
            path: path(),
            source: error.into(),
        };
        let kind = FileType::from_raw_mode(fstat(&file).map_err(unreachable)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(ExecutableError::NotAFile(path()));
        }
        let opened = Executable::Opened(Arc::new(file));
        if accessat(CWD, opened.path(), Access::EXEC_OK, AtFlags::EACCESS).is_err() {
            return Err(ExecutableError::NotExecutable(path()));
        }
        // What may be run need not be readable. Then the kernel alone can tell.
        if let (Ok(theirs), Ok(ours)) = (head(&opened.path()), head(Path::new(RUNNING)))
            && let Some(why) = foreign(&theirs, &ours)
        {
            return Err(ExecutableError::Foreign { path: path(), why });
        }
        Ok(opened)
    }
}

/// The program of a generation.
#[derive(Debug, Clone)]
pub(crate) enum Executable {
    /// The one that this master is.
    Running,
    /// One that was opened, and is the same file as long as it is.
    Opened(Arc<OwnedFd>),
}

impl Executable {
    /// What a new process is to execute. A child has our descriptors until it does.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Running => RUNNING.into(),
            Self::Opened(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
        }
    }
}

/// Why a process could not be made, where the system's words say too little about a program.
pub(crate) fn explain(error: &io::Error) -> String {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::TXTBSY) => {
            "somebody is writing to the executable; put it in place by renaming a finished file"
        }
        Some(Errno::NOEXEC) => "the executable is not a program for this machine, or not whole",
        Some(Errno::ACCESS | Errno::PERM) => "the executable may not be run by this user",
        Some(Errno::NOENT) => "the executable, or the loader that it names, is missing",
        _ => return error.to_string(),
    };
    format!("{hint} ({error})")
}

/// The path that a first argument stands for, if this process runs what is there.
fn find(name: &OsStr, places: &OsStr, cwd: &Path, running: &Metadata) -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (running.dev(), running.ino()))
    };
    if Path::new(name).components().count() > 1 || name.as_encoded_bytes().contains(&b'/') {
        return Some(cwd.join(name)).filter(is_ours);
    }
    std::env::split_paths(places)
        .map(|place| cwd.join(place).join(name))
        .find(is_ours)
}

/// The first bytes of an ELF file up to its machine, see elf(5).
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut head)?;
    Ok(head)
}

/// What is wrong with the head of a file that is to run here, where `ours` does.
fn foreign(theirs: &[u8], ours: &[u8]) -> Option<String> {
    // Its interpreter would have to open a descriptor that is closed by then.
    if theirs.starts_with(b"#!") {
        return Some("it is a script; put the program itself there".into());
    }
    if theirs.get(..4) != ours.get(..4) {
        return Some("it is not an ELF file".into());
    }
    // Word size and byte order, then the processor.
    let kind = |head: &[u8]| {
        (
            head.get(4..6).map(<[u8]>::to_vec),
            head.get(18..20).map(<[u8]>::to_vec),
        )
    };
    match (kind(theirs), kind(ours)) {
        ((_, None), _) => Some("it is cut off".into()),
        (theirs, ours) if theirs != ours => Some("it was built for another processor".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn program(path: &Path) -> Program {
        Program(path.to_owned())
    }

    fn refusal(path: &Path) -> String {
        program(path).open().unwrap_err().to_string()
    }

    fn put(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn own_head() -> Vec<u8> {
        head(Path::new(RUNNING)).unwrap()
    }

    #[test]
    fn a_link_is_followed_anew_and_a_file_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        for (name, program) in [("one", "/bin/true"), ("two", "/bin/false")] {
            fs::copy(program, dir.path().join(name)).unwrap();
        }
        symlink(dir.path().join("one"), &link).unwrap();
        let first = program(&link).open().unwrap();
        fs::remove_file(&link).unwrap();
        symlink(dir.path().join("two"), &link).unwrap();
        let second = program(&link).open().unwrap();
        fs::remove_file(dir.path().join("one")).unwrap();
        let code = |executable: &Executable| {
            let mut command = std::process::Command::new(executable.path());
            command.status().unwrap().code()
        };
        assert_eq!((code(&first), code(&second)), (Some(0), Some(1)));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app");
        assert!(
            refusal(&path).starts_with("there is no "),
            "{}",
            refusal(&path)
        );
        assert!(refusal(&path.join("x")).starts_with("there is no "));
        assert!(refusal(dir.path()).contains("not a regular file"));
        let head = own_head();
        put(&path, &head, 0o644);
        assert!(
            refusal(&path).contains("not executable"),
            "{}",
            refusal(&path)
        );
        put(&path, b"#!/bin/sh\n", 0o755);
        assert!(
            refusal(&path).contains("it is a script"),
            "{}",
            refusal(&path)
        );
        put(&path, b"plain text that is no program", 0o755);
        assert!(
            refusal(&path).contains("not an ELF file"),
            "{}",
            refusal(&path)
        );
        put(&path, b"", 0o755);
        assert!(
            refusal(&path).contains("not an ELF file"),
            "{}",
            refusal(&path)
        );
        put(&path, &head[..10], 0o755);
        assert!(refusal(&path).contains("cut off"), "{}", refusal(&path));
        let mut other = head;
        other[18] ^= 0x55;
        put(&path, &other, 0o755);
        assert!(
            refusal(&path).contains("another processor"),
            "{}",
            refusal(&path)
        );
    }

    #[test]
    fn the_kernel_explains_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app");
        fs::copy("/bin/true", &path).unwrap();
        let executable = program(&path).open().unwrap();
        let _writer = File::options().append(true).open(&path).unwrap();
        let error = std::process::Command::new(executable.path())
            .spawn()
            .unwrap_err();
        assert!(
            explain(&error).contains("somebody is writing"),
            "{}",
            explain(&error)
        );
        put(&dir.path().join("head"), &own_head(), 0o755);
        let cut = program(&dir.path().join("head")).open().unwrap();
        let error = std::process::Command::new(cut.path()).spawn().unwrap_err();
        assert!(explain(&error).contains("not whole"), "{}", explain(&error));
    }

    #[test]
    fn a_name_is_found_where_the_shell_found_it() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, other) = (dir.path().join("bin"), dir.path().join("other"));
        for folder in [&bin, &other] {
            fs::create_dir(folder).unwrap();
            put(&folder.join("app"), b"x", 0o755);
        }
        symlink("bin/app", dir.path().join("link")).unwrap();
        let running = fs::metadata(bin.join("app")).unwrap();
        let places = std::env::join_paths([&other, &bin]).unwrap();
        let found = |name: &str| find(name.as_ref(), &places, dir.path(), &running);
        assert_eq!(found("app"), Some(bin.join("app")));
        assert_eq!(found("bin/app"), Some(bin.join("app")));
        assert_eq!(found("./link"), Some(dir.path().join("./link")));
        assert_eq!(found("other/app"), None);
        assert_eq!(found("-app"), None);
        assert_eq!(
            found(bin.join("app").to_str().unwrap()),
            Some(bin.join("app"))
        );
    }
}
