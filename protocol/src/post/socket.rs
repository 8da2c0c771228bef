//! Packets and their descriptors over a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
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
/// As recvmsg(2): `WouldBlock` when there is nothing. `InvalidData` for a packet that is too long, or empty.
pub fn receive_packet(
    socket: impl AsFd,
    bytes: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> io::Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = match recvmsg(
        &socket,
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
    if received.bytes > 0 {
        return Ok(Some(received.bytes));
    }
    if is_open(&socket)? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet of messages is empty",
        ));
    }
    Ok(None)
}

/// Whether the other end may still send. A packet of nothing is read as an end is, so this tells one from the other.
fn is_open(socket: impl AsFd) -> io::Result<bool> {
    let mut look = [PollFd::new(&socket, PollFlags::RDHUP)];
    retry_on_intr(|| poll(&mut look, Some(&Timespec::default())))?;
    let ended = PollFlags::RDHUP | PollFlags::HUP;
    Ok(look.iter().all(|one| !one.revents().intersects(ended)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn receive(socket: &OwnedFd) -> io::Result<(Option<usize>, usize)> {
        let mut files = Vec::new();
        let length = receive_packet(socket, &mut vec![0; MAX_PACKET], &mut files)?;
        Ok((length, files.len()))
    }

    #[test]
    fn an_end_is_told_from_a_packet_of_nothing() {
        let (ours, theirs) = pair().unwrap();
        send_packet(&theirs, b"", &[]).unwrap();
        send_packet(&theirs, b"x", &[]).unwrap();
        let empty = receive(&ours).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(&ours).unwrap(), (Some(1), 0));
        let nothing = receive(&ours).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(receive(&ours).unwrap(), (None, 0));
    }

    #[test]
    fn a_packet_that_is_too_long_is_refused_whole() {
        let (ours, theirs) = pair().unwrap();
        send_packet(&theirs, &vec![0; MAX_PACKET + 1], &[]).unwrap();
        send_packet(&theirs, &vec![0; MAX_PACKET], &[]).unwrap();
        let long = receive(&ours).unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(&ours).unwrap(), (Some(MAX_PACKET), 0));
    }

    /// Far more than a packet may have are not even sent.
    #[test]
    fn a_packet_has_as_many_descriptors_as_it_may() {
        let (ours, theirs) = pair().unwrap();
        let files = [theirs.as_fd(); 2 * MAX_FDS];
        let many = send_packet(&theirs, b"x", &files).unwrap_err();
        assert_eq!(many.kind(), io::ErrorKind::InvalidInput);
        send_packet(&theirs, b"x", &files[..MAX_FDS]).unwrap();
        assert_eq!(receive(&ours).unwrap(), (Some(1), MAX_FDS));
    }
}
