//! TLS on the connections of a listener that names a certificate, by rustls with ring.
//!
//! Certificates are files that others renew: [`renewal`] notices. A session that began on one worker goes on
//! on any other: [`tickets`]. What is wrong with a certificate is said before anything starts:
//! [`check_certificate`].
//!
//! Not here: certificates of clients, and getting certificates from an authority (ACME). The first is better
//! done by a proxy in front, the second by a program that writes the files.

mod certificate;
mod parting;
mod renewal;
mod tickets;

use std::io;
use std::sync::Arc;

use hatchery_protocol::boot::TlsFiles;
use hatchery_protocol::secret::Secret;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use self::certificate::{CertificateError, check_certificate};
pub(crate) use self::parting::Parting;
use self::renewal::Renewed;
use self::tickets::Tickets;
use crate::client::TlsInfo;

/// What is offered by ALPN, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS of one listener.
pub(crate) struct Tls(TlsAcceptor);

impl Tls {
    /// Reads the certificate. `listener` tells the tickets of one listener from another's.
    pub(crate) fn new(
        files: &TlsFiles,
        secret: &Secret,
        listener: &str,
    ) -> Result<Self, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(CertificateError::Provider)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Renewed::new(files)?));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        config.ticketer = Arc::new(Tickets::new(secret, listener));
        // Sessions are kept by clients alone: what one worker remembers is of no use on another.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(Arc::new(config).into()))
    }

    /// The server's side of the handshake.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.accept(stream).await
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What a handshake came to.
pub(crate) fn info<S>(stream: &TlsStream<S>) -> TlsInfo {
    let (_, session) = stream.get_ref();
    let alpn = session.alpn_protocol();
    TlsInfo {
        server_name: session.server_name().map(str::to_owned),
        alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
        version: session
            .protocol_version()
            .and_then(|version| version.as_str().map(str::to_owned)),
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
