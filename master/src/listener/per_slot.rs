//! One socket for each slot on one port: a group that the kernel spreads connections over (`SO_REUSEPORT`,
//! socket(7)).
//!
//! The group must not be open to others who would share the port: a second master of the same user could
//! join it and take half of the clients. So the first socket is bound and made to listen without the option,
//! which fails if anybody else serves the port, and only then lets the others in. Until that moment those
//! exist without an address. Workers have them already: they are the same sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};

use super::TcpOptions;

/// Makes as many sockets as there are slots, of which the first is there already.
pub(super) fn extend(
    sockets: &mut Vec<OwnedFd>,
    slots: u32,
    options: &TcpOptions,
) -> io::Result<()> {
    let address = local_address(sockets.first())?;
    for _ in 1..slots {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if let Some(first) = sockets.first() {
            copy_options(&SockRef::from(first), &socket, address)?;
        }
        options.apply(&socket)?;
        sockets.push(socket.into());
    }
    Ok(())
}

/// Lets the other sockets join the first, which listens.
pub(super) fn listen(first: &OwnedFd, others: &[Arc<OwnedFd>], backlog: i32) -> io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let address = local_address(Some(first))?;
    SockRef::from(first).set_reuse_port(true)?;
    for socket in others {
        let socket = SockRef::from(&**socket);
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
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

fn local_address(socket: Option<&OwnedFd>) -> io::Result<SocketAddr> {
    let address = socket.map(|socket| SockRef::from(socket).local_addr());
    let address = address.transpose()?.and_then(|address| address.as_socket());
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

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
            let queued = TcpListener::from(socket.try_clone().unwrap());
            queued.set_nonblocking(true).unwrap();
            let count = queued.incoming().map_while(Result::ok).count();
            assert!((5..60).contains(&count), "{count} of 90");
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
