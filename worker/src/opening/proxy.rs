//! The PROXY protocol, versions 1 and 2: a proxy says for whom it speaks, before anything else.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. The parser is a library's; here is how much
//! of the stream is shown to it. A listener that expects a header takes nothing else: whoever may connect
//! without one could name any address as its own.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use thiserror::Error;
use tokio::io::AsyncRead;

use super::ahead::Ahead;

/// A header of version 1 has at most so many bytes, the line break included.
const V1_MAX: usize = 107;

/// A header of version 2 has so many before its length is known.
const V2_MIN: usize = 16;

/// More than addresses and what proxies add to them. The format allows 64 KiB.
const V2_MAX: usize = V2_MIN + 4096;

/// Two addresses that are not the socket's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The client's.
    pub(crate) source: SocketAddr,
    /// The one it connected to.
    pub(crate) destination: SocketAddr,
}

/// Why there is no header.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    #[error("its PROXY protocol header is longer than {0} bytes")]
    TooLong(usize),
    #[error("its PROXY protocol header is malformed: {0}")]
    Malformed(String),
    #[error("it ended within its PROXY protocol header")]
    Ended,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the header and takes it off the stream. `None`: the proxy speaks for itself, or does not know.
pub(super) async fn read_header<S>(stream: &mut Ahead<S>) -> Result<Option<Proxied>, ProxyError>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some((length, proxied)) = parse(stream.waiting())? {
            stream.consume(length);
            return Ok(proxied);
        }
        if stream.read_ahead().await? == 0 {
            return Err(ProxyError::Ended);
        }
    }
}

/// The header's length and what it says; `None` as long as a part of it is missing.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Option<Proxied>)>, ProxyError> {
    if begins(bytes, v2::PROTOCOL_PREFIX) {
        parse_v2(bytes)
    } else if begins(bytes, v1::PROTOCOL_PREFIX.as_bytes()) {
        parse_v1(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Whether `bytes` are the beginning of what begins with `prefix`.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(a, b)| a == b)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(usize, Option<Proxied>)>, ProxyError> {
    // Only a whole line is parsed: a part of a port is a port, too.
    let shown = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = shown.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_MAX {
            Ok(None)
        } else {
            Err(ProxyError::TooLong(V1_MAX))
        };
    };
    let line = bytes.get(..=end).unwrap_or_default();
    let header = v1::Header::try_from(line).map_err(|e| ProxyError::Malformed(e.to_string()))?;
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

fn parse_v2(bytes: &[u8]) -> Result<Option<(usize, Option<Proxied>)>, ProxyError> {
    let Some(&[high, low]) = bytes.get(V2_MIN - 2..V2_MIN) else {
        return Ok(None);
    };
    let length = V2_MIN + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Err(ProxyError::TooLong(V2_MAX));
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let header = v2::Header::try_from(whole).map_err(|e| ProxyError::Malformed(e.to_string()))?;
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

#[cfg(test)]
mod tests;
