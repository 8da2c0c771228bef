//! Bytes and descriptors over a unix stream socket.
//!
//! Both calls are one `sendmsg`/`recvmsg` each and never wait when the socket is non-blocking; who waits,
//! and how, is the caller's business. Received descriptors are close-on-exec from the first instant
//! (`MSG_CMSG_CLOEXEC`), so none can leak into a grandchild.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::wire::MAX_FDS;

/// Room for the descriptors of two frames: a stream may merge neighbours.
const ANCILLARY_SPACE: usize = rustix::cmsg_space!(ScmRights(2 * MAX_FDS as usize));

/// Sends as much of `bytes` as the socket takes, with `fds` attached to the first byte.
///
/// The descriptors have left as soon as one byte has. Returns the number of bytes taken.
///
/// # Errors
///
/// As sendmsg(2); `WouldBlock` when a non-blocking socket is full. A peer that is gone is
/// `BrokenPipe`, never a signal.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors for one message",
        ));
    }
    let taken = sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(taken)
}

/// Receives into `bytes`, appending any descriptors to `fds`. Returns the number of bytes, 0 at end of file.
///
/// # Errors
///
/// As recvmsg(2); `WouldBlock` when a non-blocking socket is empty; `InvalidData` when descriptors were
/// lost because they did not fit or this process has no descriptors left (`MSG_CTRUNC`).
pub fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors were lost on the way (is the limit of open files reached?)",
        ));
    }
    Ok(received.bytes)
}

/// Takes a socket that a parent put on descriptor 0: moves it to a close-on-exec descriptor and leaves
/// `/dev/null` in its place.
///
/// # Errors
///
/// Descriptor 0 is not a socket, or there are no descriptors left.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    rustix::net::sockopt::socket_type(stdin)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_arrive_usable_and_close_on_exec() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        assert_eq!(send(&a, b"x", &[writer.as_fd()]).unwrap(), 1);
        drop(writer);
        let mut bytes = [0; 8];
        let mut fds = VecDeque::new();
        assert_eq!(receive(&b, &mut bytes, &mut fds).unwrap(), 1);
        let fd = fds.pop_front().unwrap();
        assert!(fds.is_empty());
        let flags = rustix::io::fcntl_getfd(&fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        std::fs::File::from(fd).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_dead_peer_is_an_error_and_not_a_signal() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(b);
        let error = send(&a, b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
