//! Certificates for tests, and a client that believes them.

use std::path::Path;
use std::sync::Arc;

use hatchery_protocol::boot::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Who is asked for.
pub(crate) const HOST: &str = "app.test";

/// An authority that issues certificates.
pub(crate) struct Authority {
    root: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    chain: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self {
            pem: root.pem(),
            root: root.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// One for [`HOST`], valid today.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_with(name, |_| {})
    }

    pub(crate) fn issue_expired(&self, name: &str) -> Issued {
        self.issue_with(name, |params| params.not_after = date_time_ymd(2001, 2, 3))
    }

    pub(crate) fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names = vec![HOST.to_owned(), format!("{name}.test")];
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        self.sign(&params, &KeyPair::generate().unwrap())
    }

    /// One for a key that is there already.
    pub(crate) fn issue_for(&self, key: &KeyPair) -> Issued {
        self.sign(&CertificateParams::new([HOST.to_owned()]).unwrap(), key)
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Issued {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A client of servers that have a certificate of this authority.
    pub(crate) fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Issued {
    pub(crate) fn chain(&self) -> &str {
        &self.chain
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Writes both into a folder.
    pub(crate) fn write(&self, folder: &Path) -> TlsFiles {
        let files = TlsFiles {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        std::fs::write(&files.cert, &self.chain).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
        files
    }
}
