//! Every way in which two files are no certificate and its key has its sentence.

use std::fs;
use std::path::Path;

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd};

use super::*;
use crate::tls::fixture::Authority;

fn refused(files: &TlsFiles) -> String {
    check_certificate(files).unwrap_err().to_string()
}

/// Files that are right, in a folder of their own.
fn good(dir: &Path) -> TlsFiles {
    Authority::new().issue("good").write(dir)
}

#[test]
fn what_fits_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    check_certificate(&good(dir.path())).unwrap();
    // Both in one file, as some programs write them.
    let files = good(dir.path());
    let both = fs::read_to_string(&files.key).unwrap() + &fs::read_to_string(&files.cert).unwrap();
    fs::write(&files.cert, both).unwrap();
    let key = files.cert.clone();
    check_certificate(&TlsFiles { key, ..files }).unwrap();
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let files = Authority::new().issue_for(&key).write(dir.path());
        check_certificate(&files).unwrap();
    }
}

#[test]
fn files_that_hold_something_else_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = good(dir.path());
    let certificate = fs::read_to_string(&files.cert).unwrap();
    let key = fs::read_to_string(&files.key).unwrap();
    let half = &certificate[..certificate.len() / 2];
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, sentence) in [
        ("", "cert.pem holds no certificate; it must be PEM"),
        ("\u{30}\u{82}", "cert.pem holds no certificate"),
        (key.as_str(), "are `cert` and `key` swapped?"),
        (half, "cert.pem is damaged"),
        (nonsense, "the certificate in"),
    ] {
        fs::write(&files.cert, content).unwrap();
        let said = refused(&files);
        assert!(said.contains(sentence), "{said}");
    }
    fs::write(&files.cert, &certificate).unwrap();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (content, sentence) in [
        ("", "key.pem holds no private key; it must be PEM"),
        (certificate.as_str(), "are `cert` and `key` swapped?"),
        (encrypted, "this one is encrypted"),
        (nonsense, "key.pem cannot be used"),
        (&key[..key.len() / 2], "key.pem is damaged"),
    ] {
        fs::write(&files.key, content).unwrap();
        let said = refused(&files);
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = good(dir.path());
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let large = dir.path().join("large");
    fs::write(&large, vec![b'x'; 2 << 20]).unwrap();
    for (path, sentence) in [
        (
            dir.path().join("none.pem"),
            "none.pem cannot be read: there is no such file",
        ),
        (dir.path().to_owned(), "it is not a file"),
        (pipe, "pipe cannot be read: it is not a file"),
        ("/dev/zero".into(), "it is not a file"),
        (large, "it is larger than"),
    ] {
        for files in [
            TlsFiles {
                cert: path.clone(),
                ..files.clone()
            },
            TlsFiles {
                key: path,
                ..files.clone()
            },
        ] {
            let said = refused(&files);
            assert!(said.contains(sentence), "{said}");
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let files = good(dir.path());
    fs::write(&files.key, Authority::new().issue("other").key()).unwrap();
    let said = refused(&files);
    assert!(
        said.contains("does not belong to the certificate in"),
        "{said}"
    );
    // So is a chain in the wrong order.
    let authority = Authority::new();
    let files = authority.issue("app").write(dir.path());
    let own = fs::read_to_string(&files.cert).unwrap();
    fs::write(&files.cert, authority.pem() + &own).unwrap();
    let said = refused(&files);
    assert!(
        said.contains("the first has to be the server's own"),
        "{said}"
    );
}

#[test]
fn a_certificate_that_no_client_believes_today_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let files = Authority::new().issue_expired("old").write(dir.path());
    let said = refused(&files);
    assert!(
        said.ends_with("cert.pem expired on 2001-02-03T00:00:00Z; renew it"),
        "{said}"
    );
    let future = Authority::new().issue_with("new", |params| {
        params.not_before = date_time_ymd(2999, 1, 1);
    });
    let said = refused(&future.write(dir.path()));
    assert!(
        said.contains("is not valid before 2999-01-01T00:00:00Z"),
        "{said}"
    );
}
