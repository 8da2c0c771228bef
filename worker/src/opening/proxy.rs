//! A PROXY protocol header, taken off the stream.
//!
//! A listener that expects a header takes nothing else: whoever may connect without one could name any
//! address as its own.

use std::io;

use hatchery_protocol::proxy::{HeaderError, Proxied, parse};
use thiserror::Error;
use tokio::io::AsyncRead;

use crate::ahead::Ahead;

/// Why there is no header.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Header(#[from] HeaderError),
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

#[cfg(test)]
mod tests;
