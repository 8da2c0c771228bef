//! Hands on the link between a master and its child, and on a worker's lane, which both ends believe to be
//! theirs alone.
//!
//! `pidfd_getfd` gives this process a copy of another one's descriptor. With it a test speaks in a
//! child's voice, hangs up in its name, or keeps a dead master's end open.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::process;

/// A copy of a child's end of its link. Written to, it is the child speaking.
pub fn of_child(pid: u32) -> io::Result<UnixStream> {
    all_of_master(pid)?
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the child has no link"))
}

/// A copy of a worker's end of its lane, on which connections come and receipts go.
pub fn lane_of_worker(pid: u32) -> io::Result<OwnedFd> {
    let [_post, lane] = packet_sockets(pid)?;
    Ok(lane)
}

/// A copy of a worker's end of its post, on which the application's messages travel.
pub fn post_of_worker(pid: u32) -> io::Result<OwnedFd> {
    let [post, _lane] = packet_sockets(pid)?;
    Ok(post)
}

/// Numbered in the order in which they came with the first message.
fn packet_sockets(pid: u32) -> io::Result<[OwnedFd; 2]> {
    nameless_unix_sockets(pid, SocketType::SEQPACKET)?
        .try_into()
        .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "the worker has no post and lane"))
}

/// Copies of all links of a master. While they are held, its children see no end of file.
pub fn all_of_master(pid: u32) -> io::Result<Vec<UnixStream>> {
    let sockets = nameless_unix_sockets(pid, SocketType::STREAM)?;
    Ok(sockets.into_iter().map(UnixStream::from).collect())
}

/// The link is one end of a socketpair, so neither end has a name; listeners and their clients have.
fn nameless_unix_sockets(pid: u32, kind: SocketType) -> io::Result<Vec<OwnedFd>> {
    let target = process::raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let target = pidfd_open(target, PidfdFlags::empty())?;
    let mut numbers = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let is_socket = fs::read_link(entry.path())
            .is_ok_and(|name| name.to_string_lossy().starts_with("socket:"));
        if let Some(number) = entry.file_name().to_str().and_then(|n| n.parse().ok())
            && is_socket
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    let mut sockets = Vec::new();
    for number in numbers {
        // The target may have closed it since.
        let Ok(socket) = pidfd_getfd(&target, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        if sockopt::socket_type(&socket)? == kind && is_nameless(&socket)? {
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

fn is_nameless(socket: &OwnedFd) -> io::Result<bool> {
    if sockopt::socket_domain(socket)? != AddressFamily::UNIX || sockopt::socket_acceptconn(socket)?
    {
        return Ok(false);
    }
    let stream = UnixStream::from(socket.try_clone()?);
    let nameless = |address: io::Result<std::os::unix::net::SocketAddr>| {
        address.is_ok_and(|address| address.is_unnamed())
    };
    Ok(nameless(stream.local_addr()) && nameless(stream.peer_addr()))
}
