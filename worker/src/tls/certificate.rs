//! A certificate and its key, from two files that may hold anything.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hatchery_protocol::boot::TlsFiles;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use thiserror::Error;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{DateTime, Decode as _};

/// More than any chain of certificates. A file that is larger is something else.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate and its key cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("the file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A file is damaged.
    #[error("the file {} is damaged: {reason}; write it again", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something else than certificates.
    #[error(
        "the file {} holds no certificate; it must be PEM, with lines like -----BEGIN CERTIFICATE-----{}",
        path.display(), hint
    )]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// What it seems to be instead.
        hint: &'static str,
    },
    /// Something else than a private key.
    #[error(
        "the file {} holds no private key; it must be PEM, with lines like -----BEGIN PRIVATE KEY-----{}",
        path.display(), hint
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What it seems to be instead.
        hint: &'static str,
    },
    /// A key of a kind that is not supported.
    #[error(
        "the private key in {} cannot be used ({reason}); it must be RSA of 2048 bits or more, ECDSA (P-256, P-384) \
         or Ed25519",
        path.display()
    )]
    UnusableKey {
        /// Which file.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// A certificate that cannot be used.
    #[error("the certificate in {} cannot be used: {reason}", path.display())]
    UnusableCertificate {
        /// Which file.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The two do not belong together.
    #[error(
        "the private key in {} does not belong to the certificate in {}, of which the first has to be the \
         server's own; give the two files that were made together",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// It was valid once.
    #[error("the certificate in {} expired on {on}; renew it", path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
        /// When, in UTC.
        on: String,
    },
    /// It will be valid.
    #[error(
        "the certificate in {} is not valid before {from}; wait, or check the clock of this host",
        path.display()
    )]
    NotYetValid {
        /// Which file.
        path: PathBuf,
        /// When, in UTC.
        from: String,
    },
    /// The library itself.
    #[error("TLS cannot be set up: {0}")]
    Provider(#[source] Error),
}

/// Says what is wrong with a certificate and its key, if anything: what a server could not use, and what no
/// client would believe today.
///
/// # Errors
///
/// The first thing that is wrong, in a sentence that names the file.
pub fn check_certificate(files: &TlsFiles) -> Result<(), CertificateError> {
    let now = wall_clock();
    Pair::read(files)?.check_validity(&files.cert, now)
}

/// Time since 1970 by the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is valid by the time of day"
)]
pub(super) fn wall_clock() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A certificate and the key that belongs to it.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certified: CertifiedKey,
    not_before: Duration,
    not_after: Duration,
}

impl Pair {
    /// Whether the certificate is valid is another question: [`Self::check_validity`].
    pub(super) fn read(files: &TlsFiles) -> Result<Self, CertificateError> {
        let chain = read_chain(&files.cert)?;
        let key = read_key(&files.key)?;
        let unusable = |reason: String| CertificateError::UnusableCertificate {
            path: files.cert.clone(),
            reason,
        };
        let first = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let own = CertificateInner::<Raw>::from_der(first).map_err(|e| unusable(e.to_string()))?;
        let validity = own.tbs_certificate().validity();
        let (not_before, not_after) = (
            validity.not_before.to_unix_duration(),
            validity.not_after.to_unix_duration(),
        );
        let key = super::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|e| CertificateError::UnusableKey {
                path: files.key.clone(),
                reason: e.to_string(),
            })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self {
                certified,
                not_before,
                not_after,
            }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(CertificateError::Mismatch {
                    cert: files.cert.clone(),
                    key: files.key.clone(),
                })
            }
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Whether clients believe it at `now`, a time since 1970. `path` is for the sentence.
    pub(super) fn check_validity(
        &self,
        path: &Path,
        now: Duration,
    ) -> Result<(), CertificateError> {
        let path = path.to_owned();
        if now > self.not_after {
            let on = date(self.not_after);
            Err(CertificateError::Expired { path, on })
        } else if now < self.not_before {
            let from = date(self.not_before);
            Err(CertificateError::NotYetValid { path, from })
        } else {
            Ok(())
        }
    }
}

fn date(since_1970: Duration) -> String {
    let whole = Duration::from_secs(since_1970.as_secs());
    DateTime::from_unix_duration(whole).map_or_else(
        |_| format!("{} s after 1970", whole.as_secs()),
        |date| date.to_string(),
    )
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| damaged(path, &error))?;
    if chain.is_empty() {
        let hint = if says(&bytes, "PRIVATE KEY") {
            " (it holds a private key: are `cert` and `key` swapped?)"
        } else {
            ""
        };
        let path = path.to_owned();
        return Err(CertificateError::NoCertificate { path, hint });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        if !matches!(error, pem::Error::NoItemsFound) {
            return damaged(path, &error);
        }
        let hint = if says(&bytes, "ENCRYPTED PRIVATE KEY") {
            " (this one is encrypted: `openssl pkey` takes its password off)"
        } else if says(&bytes, "CERTIFICATE") {
            " (it holds a certificate: are `cert` and `key` swapped?)"
        } else {
            ""
        };
        let path = path.to_owned();
        CertificateError::NoKey { path, hint }
    })
}

fn damaged(path: &Path, error: &pem::Error) -> CertificateError {
    CertificateError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Whether a line of PEM announces such a thing.
fn says(bytes: &[u8], what: &str) -> bool {
    let label = format!("BEGIN {what}-----");
    bytes.windows(label.len()).any(|w| w == label.as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |reason: String| CertificateError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let told = |error: io::Error| unreadable(told(&error));
    // Before it is opened: opening a pipe would wait for somebody who writes.
    let metadata = std::fs::metadata(path).map_err(told)?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    let file = File::open(path).map_err(told)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(told)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds are std's and open-ended; the system's own words serve for the rest"
)]
fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; let the user that runs this read it".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
