//! Which file a program's name stands for, and whether it can be run: as execvp(3) looks, but with a sentence
//! for each way to fail, and before there is a process.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use thiserror::Error;

/// Why there is nothing to run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FindError {
    /// The directory to run it in is not there.
    #[error("there is no directory {} to run the program in", .0.display())]
    NoDirectory(PathBuf),
    /// The path leads nowhere.
    #[error("there is no program {}", .0.display())]
    Missing(PathBuf),
    /// A bare name that no folder of `PATH` has.
    #[error("there is no program `{name}` in the folders of PATH{}", if *.here { format!("; the one that lies here is ./{name}") } else { String::new() })]
    NotInPath {
        /// The name.
        name: String,
        /// Whether the directory itself has one.
        here: bool,
    },
    /// A directory or a device.
    #[error("{} is not a file that can be run", .0.display())]
    NotAFile(PathBuf),
    /// The permission is missing.
    #[error("{} is not executable for this user; allow it (chmod +x), or name what runs it before it, as in `node {}`", .0.display(), .0.display())]
    NotExecutable(PathBuf),
}

/// The file that `program` means to somebody in `directory` whose `PATH` is `places`.
///
/// # Errors
///
/// There is none, or it cannot be run by this user.
pub fn find(program: &str, directory: &Path, places: &OsStr) -> Result<PathBuf, FindError> {
    if !directory.is_dir() {
        return Err(FindError::NoDirectory(directory.to_owned()));
    }
    if program.contains('/') {
        let path = directory.join(program);
        return check(&path).map(|()| path);
    }
    let mut refused = None;
    for place in std::env::split_paths(places) {
        let path = directory.join(place).join(program);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(FindError::Missing(_)) => {}
            // As execvp(3): a later folder may have one that can be run.
            Err(other) => {
                refused.get_or_insert(other);
            }
        }
    }
    Err(refused.unwrap_or_else(|| FindError::NotInPath {
        name: program.to_owned(),
        here: directory.join(program).is_file(),
    }))
}

fn check(path: &Path) -> Result<(), FindError> {
    let owned = || path.to_owned();
    let metadata = path.metadata().map_err(|_| FindError::Missing(owned()))?;
    if !metadata.is_file() {
        return Err(FindError::NotAFile(owned()));
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|_| FindError::NotExecutable(owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn paths_are_taken_as_they_are_and_names_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path();
        fs::create_dir_all(here.join("first/folder")).unwrap();
        fs::create_dir(here.join("second")).unwrap();
        file(&here.join("server"), 0o755);
        file(&here.join("plain.js"), 0o644);
        file(&here.join("first/tool"), 0o644);
        file(&here.join("second/tool"), 0o755);
        let places = std::env::join_paths([here.join("first"), here.join("second")]).unwrap();
        let found = |program: &str| find(program, here, &places);
        assert_eq!(found("./server"), Ok(here.join("./server")));
        assert_eq!(found("tool"), Ok(here.join("second/tool")));
        for (program, sentence) in [
            ("./none", "there is no program"),
            ("none", "there is no program `none` in the folders of PATH"),
            ("server", "the one that lies here is ./server"),
            ("./first", "is not a file that can be run"),
            ("folder", "is not a file that can be run"),
            ("./plain.js", "name what runs it before it, as in `node "),
        ] {
            let error = found(program).unwrap_err().to_string();
            assert!(error.contains(sentence), "{program}: {error}");
        }
        let nowhere = find("tool", &here.join("gone"), &places).unwrap_err();
        assert!(nowhere.to_string().contains("to run the program in"));
    }
}
