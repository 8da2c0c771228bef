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
use super::bind::Bound;
use super::error::BindError;
use super::handed::Provenance;

/// The file of a socket that we bound. Removed with this value, unless it is somebody else's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Whether it is ours to remove. While one master hands over to another there are two who have it.
    owned: bool,
}

impl SocketFile {
    /// The file that was just bound to a socket of ours.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
            owned: true,
        })
    }

    /// The file of a socket that another master bound, and removes as long as we do not [own](Self::own) it.
    pub(crate) fn of_another(path: &Path) -> io::Result<Self> {
        let mut file = Self::of(path)?;
        file.owned = false;
        Ok(file)
    }

    /// Whether this path leads to that file.
    pub(super) fn has_number(path: &Path, number: (u64, u64)) -> bool {
        identity(path).is_ok_and(|now| now == number)
    }

    /// From here on it is ours to remove.
    pub(crate) const fn own(&mut self) {
        self.owned = true;
    }

    /// From here on it is somebody else's.
    pub(crate) const fn disown(&mut self) {
        self.owned = false;
    }

    /// Gives it its mode and its owner.
    pub(super) fn apply(&self, options: &UnixOptions) -> io::Result<()> {
        options.apply(self.open()?.as_fd())
    }

    /// Whether the path still leads to our socket. Somebody may have taken it away before we listened:
    /// a socket that does not listen yet looks stale to others.
    pub(super) fn is_ours(&self) -> bool {
        Self::has_number(&self.path, self.identity)
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
        if self.owned && self.is_ours() {
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
    if let Err(source) = file.apply(options) {
        return Err(BindError::Permissions { address, source });
    }
    Ok(Bound {
        provenance: Provenance::Bound {
            asked: address.clone(),
            address: address.clone(),
            family: Family::Unix,
            file: Some(file.identity),
        },
        address,
        name: None,
        family: Family::Unix,
        socket: socket.into(),
        more: Vec::new(),
        listening: false,
        file: Some(file),
        adopted: None,
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
