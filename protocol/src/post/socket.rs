//! Packets and their descriptors over a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send,
    sendmsg, socketpair, sockopt,
};

use super::{MAX_FDS, MAX_PACKET};

const ANCILLARY_SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// Room in the kernel for a few packets. The kernel gives what it may (`net.core.wmem_max`).
const BUFFER: usize = 8 * MAX_PACKET;

/// The two ends of a new post, non-blocking and close-on-exec.
///
/// # Errors
///
/// As socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&a, &b] {
        // A smaller one is only slower.
        let _ = sockopt::set_socket_send_buffer_size(end, BUFFER);
    }
    Ok((a, b))
}

/// Sends a packet; all of it or nothing.
///
/// # Errors
///
/// As sendmsg(2): `WouldBlock` when the socket is full, `BrokenPipe` when the other end is gone.
pub fn send_packet(socket: impl AsFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    if files.is_empty() {
        send(socket, bytes, SendFlags::NOSIGNAL)?;
        return Ok(());
    }
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a packet into `bytes`, which has [`MAX_PACKET`] bytes, and its descriptors in order. Those that this
/// process has no room for are missing at the end. `None` when the other end is closed.
///
/// # Errors
///
/// As recvmsg(2): `WouldBlock` when there is nothing. `InvalidData` for a packet that is too long.
pub fn receive_packet(
    socket: impl AsFd,
    bytes: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> io::Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = match recvmsg(
        socket,
        &mut [IoSliceMut::new(bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    ) {
        Ok(received) => received,
        Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet of messages is too long",
        ));
    }
    Ok((received.bytes > 0).then_some(received.bytes))
}
