//! Where a worker takes in the connections that others pass on: a socket with a name in a folder that belongs to the cluster's user.
//!
//! A message is what the client has said so far, and the connection's descriptor (`SCM_RIGHTS`, see unix(7)). The descriptor is open
//! in the message, too: a client whose connection is under way to a process that dies sees it end.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use hatchery::WorkerContext;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixDatagram};

/// The most that a client may have said before it is passed on.
pub(crate) const MOST: usize = 1024;

/// Room for one descriptor.
const SPACE: usize = rustix::cmsg_space!(ScmRights(1));

/// This worker's own.
pub(crate) struct Desk(UnixDatagram);

impl Desk {
    /// The folder is made by whoever comes first. Nobody else may enter it: who can send here can speak for any client.
    pub(crate) fn open(context: &WorkerContext) -> io::Result<Self> {
        let mut folder = fs::DirBuilder::new();
        folder
            .recursive(true)
            .mode(0o700)
            .create(folder_of(context))?;
        UnixDatagram::bind(path(context, context.pid())).map(Self)
    }

    /// The next connection that somebody has passed on, and what its client has said. `None`: the socket is broken.
    pub(crate) async fn next(&self) -> Option<(Vec<u8>, TcpStream)> {
        loop {
            let taken = self.0.async_io(Interest::READABLE, || take(&self.0));
            match taken.await {
                Ok((said, Some(connection))) => match TcpStream::from_std(connection.into()) {
                    Ok(stream) => return Some((said, stream)),
                    Err(error) => tracing::warn!("a connection was lost: {error}"),
                },
                Ok((_, None)) => tracing::warn!("a connection was lost: no descriptor is left"),
                Err(error) => {
                    tracing::error!("no connection can be taken over any more: {error}");
                    return None;
                }
            }
        }
    }
}

fn take(socket: &UnixDatagram) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut said = [0; MOST];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut said)],
        &mut rights,
        flags,
    )?;
    let mut connection = None;
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            connection = descriptors.next();
        }
    }
    let said = said.get(..received.bytes).unwrap_or_default();
    Ok((said.to_vec(), connection))
}

/// Passes a connection on to another worker. It is that one's when this returns.
pub(crate) async fn pass(
    context: &WorkerContext,
    worker: u32,
    said: &[u8],
    connection: &OwnedFd,
) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path(context, worker))?;
    let passed = socket.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let descriptors = [connection.as_fd()];
        rights.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&socket, &[IoSlice::new(said)], &mut rights, flags)?;
        Ok(())
    });
    passed.await
}

/// Takes this worker's name away, and the folder with the last of them.
pub(crate) fn close(context: &WorkerContext) -> io::Result<()> {
    fs::remove_file(path(context, context.pid()))?;
    // Another worker may be in it still.
    let _ = fs::remove_dir(folder_of(context));
    Ok(())
}

fn path(context: &WorkerContext, worker: u32) -> PathBuf {
    folder_of(context).join(worker.to_string())
}

/// One for each cluster: `PASS_ON_DIR` names where.
fn folder_of(context: &WorkerContext) -> PathBuf {
    let dir = std::env::var_os("PASS_ON_DIR");
    let dir = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    dir.join(format!("pass-on-{}", context.master_pid()))
}
