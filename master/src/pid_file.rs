//! `--pid-file`: the master's process id, for programs that want one.
//!
//! It is a courtesy. What keeps two masters apart is the lock of the runtime directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A pid file of ours, removed with this value unless a later master has written its own by then.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Written under another name first, so that nobody reads half a number. Only a regular file is
    /// replaced: to rename over `/dev/null` would take it away from everybody on the host.
    pub(crate) fn write(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let reason = "it is there already, and it is no regular file";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        // Never through something that is there already, which somebody else may have put there.
        let written = File::create_new(&draft)
            .and_then(|mut file| writeln!(file, "{}", std::process::id()))
            .and_then(|()| fs::rename(&draft, path));
        if let Err(error) = written {
            let _ = fs::remove_file(draft);
            return Err(error);
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::process::id().to_string();
        if fs::read_to_string(&self.path).is_ok_and(|pid| pid.trim() == ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_replaced_and_a_later_masters_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.pid");
        fs::write(&path, "4194305\n").unwrap();
        let ours = PidFile::write(&path).unwrap();
        let pid = fs::read_to_string(&path).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        drop(ours);
        assert!(!path.exists());

        let ours = PidFile::write(&path).unwrap();
        fs::write(&path, "4194305\n").unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("folder.pid");
        fs::create_dir(&taken).unwrap();
        assert!(PidFile::write(&taken).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
