//! Addresses that nobody else uses, for the tests that must know their port beforehand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the kernel gives to outgoing connections.
const FIRST_PORT: u16 = 20_000;

/// Below the range that everybody may serve.
const FIRST_PRIVILEGED_PORT: u16 = 600;

/// An address of this test alone: the whole of 127/8 is this host, so the test process's id fits into the
/// address, and the port counts the addresses asked for in this process.
pub fn unique_address() -> SocketAddr {
    address(FIRST_PORT)
}

/// As [`unique_address`], with a port that only root and `CAP_NET_BIND_SERVICE` may serve.
pub fn privileged_address() -> SocketAddr {
    address(FIRST_PRIVILEGED_PORT)
}

fn address(first: u16) -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let port = first + COUNT.fetch_add(1, Ordering::Relaxed);
    let [_, a, b, c] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 64 | (a & 63), b, c), port))
}
