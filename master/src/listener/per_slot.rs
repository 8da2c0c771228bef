//! One socket for each slot on one port: a group that the kernel spreads connections over (`SO_REUSEPORT`,
//! socket(7)).
//!
//! A second master of the same user must not join the group and take half of the clients. So the first socket is
//! bound and made to listen without the option, which fails if anybody else serves the port, and only then lets
//! the others in. Until that moment those exist without an address. Workers have them already: they are the
//! same sockets. What is not kept out is another program of the same user that asks for the option itself: to the
//! kernel a socket of its is a socket of ours.
//!
//! A group that grows gets more sockets. One that shrinks keeps those that it has, because to close one resets
//! who waits in its queue; a program of three instructions lets new clients come to the first ones only
//! (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)). The kernel numbers sockets in the order of their `listen()`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};

use super::TcpOptions;

/// Makes as many sockets as there are slots, of which the first is there already, and perhaps some others. One
/// that is there and has no slot is kept: to close it would turn away who waits in its queue.
pub(super) fn extend(
    sockets: &mut Vec<OwnedFd>,
    slots: u32,
    options: &TcpOptions,
) -> io::Result<()> {
    let wanted = usize::try_from(slots).unwrap_or(usize::MAX);
    while sockets.len() < wanted {
        let first = sockets.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let more = another(first, options)?;
        sockets.push(more);
    }
    Ok(())
}

/// Makes one more socket like the first. It has no address yet.
pub(super) fn another(first: &OwnedFd, options: &TcpOptions) -> io::Result<OwnedFd> {
    let address = local_address(first)?;
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    copy_options(&SockRef::from(first), &socket, address)?;
    options.apply(&socket)?;
    Ok(socket.into())
}

/// Lets the other sockets join the first, which listens.
pub(super) fn listen(first: &OwnedFd, others: &[Arc<OwnedFd>], backlog: i32) -> io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let address = local_address(first)?;
    SockRef::from(first).set_reuse_port(true)?;
    for socket in others {
        let socket = SockRef::from(&**socket);
        if !socket.is_listener()? {
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
        }
        socket.listen(backlog)?;
    }
    Ok(())
}

fn copy_options(from: &Socket, to: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        to.set_only_v6(from.only_v6()?)?;
    }
    to.set_reuse_address(from.reuse_address()?)
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(socket).local_addr()?.as_socket();
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;

    fn group(slots: u32) -> (SocketAddr, Vec<Arc<OwnedFd>>) {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let mut sockets = vec![first.into()];
        extend(&mut sockets, slots, &TcpOptions::default()).unwrap();
        (address, sockets.into_iter().map(Arc::new).collect())
    }

    #[test]
    fn clients_are_spread_over_all_of_them() {
        let (address, sockets) = group(3);
        listen(&sockets[0], &sockets[1..], 128).unwrap();
        let _clients: Vec<_> = (0..90)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        for socket in &sockets {
            let count = queued(socket);
            assert!((5..60).contains(&count), "{count} of 90");
        }
    }

    fn queued(socket: &OwnedFd) -> usize {
        let socket = TcpListener::from(socket.try_clone().unwrap());
        socket.set_nonblocking(true).unwrap();
        socket.incoming().map_while(Result::ok).count()
    }

    /// Clients come to the first sockets only, whatever number that is, and nobody who waits is lost.
    #[test]
    fn clients_come_to_as_many_sockets_as_there_are_slots() {
        let (address, sockets) = group(4);
        listen(&sockets[0], &sockets[1..], 128).unwrap();
        let connect = || TcpStream::connect(address).unwrap();
        let mut clients: Vec<_> = (0..90).map(|_| connect()).collect();
        crate::sys::spread_over_first(sockets[0].as_fd(), 2).unwrap();
        let waiting: usize = sockets.iter().map(|socket| queued(socket)).sum();
        assert_eq!(waiting, 90, "who waited still does");
        for slots in [2, 1, 3, 4] {
            crate::sys::spread_over_first(sockets[0].as_fd(), slots).unwrap();
            clients.extend((0..90).map(|_| connect()));
            let counts: Vec<_> = sockets.iter().map(|socket| queued(socket)).collect();
            let slots = usize::try_from(slots).unwrap();
            assert_eq!(counts.iter().sum::<usize>(), 90);
            assert!(counts[..slots].iter().all(|count| *count > 5), "{counts:?}");
            assert!(
                counts[slots..].iter().all(|count| *count == 0),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn a_stranger_can_neither_be_joined_nor_join_before_us() {
        let (address, sockets) = group(2);
        let stranger = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        stranger.set_reuse_port(true).unwrap();
        stranger.bind(&address.into()).unwrap_err();
        listen(&sockets[0], &sockets[1..], 128).unwrap();
    }
}
