//! The PROXY protocol, versions 1 and 2: a proxy says for whom it speaks, before anything else.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. The parser is a library's; here is how much
//! it is shown. Workers read the header and judge it; the master only looks, where a strategy chooses by the
//! client.

use std::net::SocketAddr;

use ppp::{v1, v2};
use thiserror::Error;

/// A header of version 1 has at most so many bytes, the line break included.
const V1_MAX: usize = 107;

/// A header of version 2 has so many before its length is known.
const V2_MIN: usize = 16;

/// The longest header that is read, in bytes: more than addresses and what proxies add to them. The format
/// allows 64 KiB.
pub const MAX_HEADER: usize = V2_MIN + 4096;

/// Two addresses that are not the socket's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// The client's.
    pub source: SocketAddr,
    /// The one it connected to.
    pub destination: SocketAddr,
}

/// A header's length in bytes and what it says, if the proxy does not speak for itself; `None` as long as a
/// part of it is missing.
pub type Parsed = Option<(usize, Option<Proxied>)>;

/// Why there is no header.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Something else comes first.
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    /// More than any proxy sends.
    #[error("its PROXY protocol header is longer than {0} bytes")]
    TooLong(usize),
    /// Nothing that this protocol knows.
    #[error("its PROXY protocol header is malformed: {0}")]
    Malformed(String),
}

/// Reads the header at the beginning of a connection.
///
/// # Errors
///
/// There is none.
///
/// ```
/// let (length, proxied) = hatchery_protocol::proxy::parse(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\nGET")
///     .unwrap()
///     .unwrap();
/// assert_eq!(length, 40);
/// assert_eq!(proxied.unwrap().source.to_string(), "192.0.2.7:1000");
/// ```
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if begins(bytes, v2::PROTOCOL_PREFIX) {
        parse_v2(bytes)
    } else if begins(bytes, v1::PROTOCOL_PREFIX.as_bytes()) {
        parse_v1(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Whether `bytes` are the beginning of what begins with `prefix`.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(a, b)| a == b)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    // Only a whole line is parsed: a part of a port is a port, too.
    let shown = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = shown.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_MAX {
            Ok(None)
        } else {
            Err(HeaderError::TooLong(V1_MAX))
        };
    };
    let line = bytes.get(..=end).unwrap_or_default();
    let header = v1::Header::try_from(line).map_err(|e| HeaderError::Malformed(e.to_string()))?;
    let proxied = match header.addresses {
        v1::Addresses::Tcp4(ip) => Some(Proxied {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        v1::Addresses::Tcp6(ip) => Some(Proxied {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        v1::Addresses::Unknown => None,
    };
    Ok(Some((line.len(), proxied)))
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some(&[high, low]) = bytes.get(V2_MIN - 2..V2_MIN) else {
        return Ok(None);
    };
    let length = V2_MIN + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(HeaderError::TooLong(MAX_HEADER));
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let header = v2::Header::try_from(whole).map_err(|e| HeaderError::Malformed(e.to_string()))?;
    // A proxy that checks whether we are there (LOCAL) may fill in anything.
    let proxied = match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some(Proxied {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some(Proxied {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_))
        | (v2::Command::Local, _) => None,
    };
    Ok(Some((length, proxied)))
}
