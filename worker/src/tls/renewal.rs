//! A certificate that is renewed while it is served.
//!
//! Whoever renews a certificate replaces its files, or what their links lead to. So a handshake that comes a
//! second or more after the last look compares what stat(2) says of both files with what it said before:
//! two system calls a second at the most, and none while nobody connects. A new pair is taken whole or not
//! at all.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hatchery_protocol::boot::TlsFiles;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{CertificateError, Pair, wall_clock};

/// How long a look at the files is good for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What stat(2) says of one file; `None` if it cannot be asked.
///
/// The time of the last change of the inode is the one that nobody can set back.
type State = Option<[i128; 6]>;

/// Gives the certificate that the files hold now.
#[derive(Debug)]
pub(super) struct Renewed {
    files: TlsFiles,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    certified: Arc<CertifiedKey>,
    /// The files as they were when they were last read, whatever came of that.
    seen: [State; 2],
    looked: Instant,
}

impl Renewed {
    /// Reads the files for the first time. A certificate that nobody believes any more is served all the same:
    /// a worker that takes another's place must not fail for it.
    pub(super) fn new(files: &TlsFiles) -> Result<Self, CertificateError> {
        let seen = states(files);
        let pair = Pair::read(files)?;
        if let Err(error) = pair.check_validity(&files.cert, wall_clock()) {
            tracing::warn!("{error}");
        }
        Ok(Self {
            files: files.clone(),
            held: Mutex::new(Held {
                certified: Arc::new(pair.certified),
                seen,
                looked: Instant::now(),
            }),
        })
    }

    /// Takes what is in the files if they have changed and it is better than what we have.
    fn look(&self, held: &mut Held) {
        // First the look, then the reading: a change in between shows in the next look.
        let seen = states(&self.files);
        if seen == held.seen {
            return;
        }
        held.seen = seen;
        let read = Pair::read(&self.files).and_then(|pair| {
            pair.check_validity(&self.files.cert, wall_clock())?;
            Ok(pair)
        });
        match read {
            Ok(pair) => {
                held.certified = Arc::new(pair.certified);
                let cert = self.files.cert.display();
                tracing::info!("the certificate {cert} was renewed, new connections get it");
            }
            Err(error) => {
                tracing::warn!("the certificate that was served so far stays: {error}");
            }
        }
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked.elapsed() >= LOOK_AGAIN {
            held.looked = Instant::now();
            self.look(&mut held);
        }
        Arc::clone(&held.certified)
    }
}

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn states(files: &TlsFiles) -> [State; 2] {
    [state(&files.cert), state(&files.key)]
}

/// Through links, so that a link that leads elsewhere is a change.
fn state(path: &Path) -> State {
    let of = fs::metadata(path).ok()?;
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Some([
        of.dev().into(),
        of.ino().into(),
        of.size().into(),
        of.mode().into(),
        nanoseconds(of.mtime(), of.mtime_nsec()),
        nanoseconds(of.ctime(), of.ctime_nsec()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::Authority;

    fn served(renewed: &Renewed) -> Vec<u8> {
        let mut held = renewed.held.lock().unwrap();
        renewed.look(&mut held);
        held.certified.cert[0].to_vec()
    }

    #[test]
    fn a_new_pair_is_taken_and_half_of_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = Authority::new().issue("first").write(dir.path());
        let renewed = Renewed::new(&files).unwrap();
        let first = served(&renewed);
        assert_eq!(served(&renewed), first);

        let second = Authority::new().issue("second");
        std::fs::write(&files.cert, second.chain()).unwrap();
        assert_eq!(served(&renewed), first, "the key is still the old one");
        std::fs::write(&files.key, second.key()).unwrap();
        let now = served(&renewed);
        assert_ne!(now, first);

        std::fs::write(&files.cert, "nonsense").unwrap();
        assert_eq!(served(&renewed), now);
        std::fs::remove_file(&files.cert).unwrap();
        assert_eq!(served(&renewed), now);
        Authority::new().issue("third").write(dir.path());
        assert_ne!(served(&renewed), now);
    }

    #[test]
    fn one_that_nobody_believes_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let files = Authority::new().issue("good").write(dir.path());
        let renewed = Renewed::new(&files).unwrap();
        let good = served(&renewed);
        Authority::new().issue_expired("old").write(dir.path());
        assert_eq!(served(&renewed), good);
        // Who begins with it has nothing better.
        Renewed::new(&files).unwrap();
    }

    #[test]
    fn links_that_lead_elsewhere_are_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("1"), dir.path().join("2"));
        for folder in [&old, &new] {
            std::fs::create_dir(folder).unwrap();
            Authority::new().issue("linked").write(folder);
        }
        // As Kubernetes does: the files lie behind a link to a folder, which is replaced at once.
        let data = dir.path().join("data");
        std::os::unix::fs::symlink(&old, &data).unwrap();
        let files = TlsFiles {
            cert: data.join("cert.pem"),
            key: data.join("key.pem"),
        };
        let renewed = Renewed::new(&files).unwrap();
        let first = served(&renewed);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&new, &link).unwrap();
        std::fs::rename(&link, &data).unwrap();
        assert_ne!(served(&renewed), first);
    }
}
