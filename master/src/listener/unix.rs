//! Unix sockets have a file, and a file outlives its process.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hatchery_protocol::boot::Family;
use rustix::fs::{Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use super::UnixOptions;
use super::bind::{BindError, Bound};

/// The file of a socket that we bound. Removed with this value, unless it is somebody else's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that was just bound to a socket of ours.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }

    /// Whether the path still leads to our socket. Somebody may have taken it away before we listened:
    /// a socket that does not listen yet looks stale to others.
    pub(super) fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }

    /// The file itself, to be changed. What was put in its place meanwhile, by whoever else may write to the
    /// folder, is not touched.
    fn open(&self) -> io::Result<fs::File> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        if number(&opened.metadata()?) != self.identity {
            return Err(io::Error::other("another file has taken its place"));
        }
        Ok(opened)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // Nothing better can be done about a file that cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| number(&meta))
}

/// What tells a file from every other that exists.
fn number(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Nobody can connect before the socket listens, so nobody can before its file has its owner and its mode.
pub(super) fn bind(path: &Path, options: &UnixOptions) -> Result<Bound, BindError> {
    reclaim(path)?;
    let address = format!("unix:{}", path.display());
    let bind = || -> io::Result<(Socket, SocketFile)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        Ok((socket, SocketFile::of(path)?))
    };
    let (socket, file) = bind().map_err(|e| BindError::system(&address, e))?;
    // From here on, whoever returns early removes the file again.
    if let Err(source) = file.open().and_then(|file| options.apply(file.as_fd())) {
        return Err(BindError::Permissions { address, source });
    }
    Ok(Bound {
        address,
        name: None,
        family: Family::Unix,
        socket: socket.into(),
        listening: false,
        file: Some(file),
    })
}

/// Removes the file of a socket that nobody serves any more.
fn reclaim(path: &Path) -> Result<(), BindError> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    // Without waiting: the queue of a live socket may be full.
    let probe = || -> io::Result<()> {
        Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?.connect(&SockAddr::unix(path)?)
    };
    let stale = matches!(probe(), Err(e) if e.kind() == io::ErrorKind::ConnectionRefused);
    let result = if stale {
        fs::remove_file(path)
    } else {
        // Somebody answers, or would if the queue were not full, or if we were allowed to ask.
        Err(io::ErrorKind::AddrInUse.into())
    };
    result.map_err(|e| BindError::system(&format!("unix:{}", path.display()), e))
}
