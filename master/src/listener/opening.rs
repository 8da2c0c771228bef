//! What comes before HTTP on the connections of an address: options for the workers, which the master hands on.

use std::path::PathBuf;

use hatchery_protocol::boot::TlsFiles;

use super::option::{CONNECTIONS, Key};

/// How the connections of an address begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpeningOptions {
    /// Whether each connection begins with a PROXY protocol header that names the client.
    pub proxy_protocol: bool,
    /// The certificate to speak TLS with; never without `key`.
    pub cert: Option<PathBuf>,
    /// The certificate's private key; never without `cert`.
    pub key: Option<PathBuf>,
}

impl OpeningOptions {
    /// Where the certificate is, if TLS is spoken.
    pub fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = (self.cert.clone()?, self.key.clone()?);
        Some(TlsFiles { cert, key })
    }
}

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "proxy-protocol",
        of: CONNECTIONS,
        read: |listen, text| {
            // The name alone is enough.
            if !matches!(text, "" | "true") {
                return Err("true, or nothing at all".to_owned());
            }
            listen.opening.proxy_protocol = true;
            Ok(())
        },
        show: |listen| listen.opening.proxy_protocol.then(|| "true".to_owned()),
    },
    Key {
        name: "cert",
        of: CONNECTIONS,
        read: |listen, text| read_path(&mut listen.opening.cert, text),
        show: |listen| show_path(listen.opening.cert.as_ref()),
    },
    Key {
        name: "key",
        of: CONNECTIONS,
        read: |listen, text| read_path(&mut listen.opening.key, text),
        show: |listen| show_path(listen.opening.key.as_ref()),
    },
];

fn read_path(path: &mut Option<PathBuf>, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the path of a file".to_owned());
    }
    *path = Some(text.into());
    Ok(())
}

fn show_path(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
