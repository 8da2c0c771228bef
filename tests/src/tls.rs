//! Certificates of an authority that only a test knows, and a blocking client that believes them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::{Connection, Stream};
use crate::plan::Plan;
use crate::wait::PATIENCE;

/// Who every certificate is for.
pub const HOST: &str = "app.test";

/// A stream as a client has it after the handshake.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Stream for TlsStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.sock.limit(time)
    }
}

/// An authority that issues certificates.
#[derive(Debug)]
pub struct Authority {
    root: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The two files that a server needs.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Files {
    /// The names that tests give them, in this folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        }
    }

    /// An address to listen on, with these files.
    pub fn at(&self, address: &str) -> String {
        let sign = if address.contains('?') { '&' } else { '?' };
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("{address}{sign}cert={cert}&key={key}")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (root, pem) = (certificate.der().clone(), certificate.pem());
        let issuer = Issuer::new(params, key);
        Self { root, pem, issuer }
    }

    /// Its own certificate, for who is to trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a new certificate and its key into a folder. The certificate itself is returned.
    pub fn issue(&self, folder: &Path) -> CertificateDer<'static> {
        self.issue_with(folder, |_| {})
    }

    /// As [`issue`](Self::issue), changed.
    pub fn issue_with(
        &self,
        folder: &Path,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files::of(folder);
        std::fs::write(files.cert, certificate.pem()).unwrap();
        std::fs::write(files.key, key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    /// A client that remembers its sessions.
    pub fn client(&self) -> Client {
        self.build(&[&TLS13, &TLS12])
    }

    /// A client of the older version alone.
    pub fn client_of_tls12(&self) -> Client {
        self.build(&[&TLS12])
    }

    fn build(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client(config)
    }
}

/// Who connects, and comes back with the tickets it was given.
#[derive(Debug, Clone)]
pub struct Client(ClientConfig);

impl Client {
    /// Offers these protocols by ALPN.
    #[must_use]
    pub fn speaking(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// A connection after its handshake.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Connection<TlsStream>> {
        self.connect_after(address, b"")
    }

    /// A connection on which something else came first.
    pub fn connect_after(
        &self,
        address: SocketAddr,
        first: &[u8],
    ) -> io::Result<Connection<TlsStream>> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.limit(PATIENCE)?;
        io::Write::write_all(&mut socket, first)?;
        let name = ServerName::try_from(HOST).unwrap();
        let mut session = ClientConnection::new(Arc::new(self.0.clone()), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Connection::new(StreamOwned::new(session, socket))
    }
}

/// A cluster that speaks TLS on one port more, and the authority of its certificate. The files are in its
/// folder `tls`.
pub fn secure(plan: Plan) -> (Plan, Authority) {
    let (authority, folder) = (Authority::new(), plan.path("tls"));
    std::fs::create_dir(&folder).unwrap();
    authority.issue(&folder);
    let address = Files::of(&folder).at("127.0.0.1:0");
    (plan.listen(address), authority)
}

/// Whether a connection goes on where another one was.
pub fn is_resumed(connection: &Connection<TlsStream>) -> bool {
    connection.get_ref().conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
}

/// The certificate that the server showed.
pub fn certificate(connection: &Connection<TlsStream>) -> CertificateDer<'static> {
    connection.get_ref().conn.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}
