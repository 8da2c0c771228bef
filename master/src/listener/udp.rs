//! UDP sockets: bound by the master, given to every worker whole. There is nothing to listen for and nothing
//! to accept; who reads a datagram is the kernel's choice.

use std::io;
use std::net::SocketAddr;

use hatchery_protocol::boot::Family;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Listen;
use super::bind::Bound;
use super::error::BindError;
use super::handed::Provenance;

pub(super) fn bind(address: SocketAddr, listen: &Listen) -> Result<Bound, BindError> {
    let bind = || -> io::Result<(Socket, SocketAddr)> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), None)?;
        if address.is_ipv6() {
            socket.set_only_v6(listen.v6only.unwrap_or(true))?;
        }
        // Without SO_REUSEADDR: with it, a second process could take the address over, and the datagrams.
        socket.bind(&SockAddr::from(address))?;
        let real = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, real))
    };
    let (socket, real) = bind().map_err(|e| BindError::system(&format!("udp:{address}"), e))?;
    Ok(Bound {
        address: format!("udp:{real}"),
        name: None,
        family: Family::Udp,
        socket: socket.into(),
        more: Vec::new(),
        listening: true,
        file: None,
        provenance: Provenance::Bound {
            asked: format!("udp:{address}"),
            address: format!("udp:{real}"),
            family: Family::Udp,
            file: None,
        },
        adopted: None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn udp(text: &str) -> Result<Bound, BindError> {
        let listen: Listen = text.parse().unwrap();
        let super::super::Address::Udp(address) = listen.address else {
            panic!("{text}");
        };
        bind(address, &listen)
    }

    #[test]
    fn an_address_has_one_owner() {
        let bound = udp("udp:127.0.0.1:0").unwrap();
        let address = bound.address.strip_prefix("udp:").unwrap();
        assert!(UdpSocket::bind(address).is_err());
        let error = udp(&bound.address).unwrap_err().to_string();
        assert!(
            error.contains(&bound.address) && error.contains("in use"),
            "{error}"
        );
    }
}
