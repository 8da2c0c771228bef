//! Session tickets that every worker of the cluster can read.
//!
//! A ticket is the state of a session, sealed with a key and given to the client. All workers have the same
//! secret from their master and the same clock, so they come to the same keys without a word: one for each
//! epoch of six hours. A ticket is good in the epoch in which it was sealed and in the next. The secret dies
//! with the master, and what was sealed with it opens nowhere any more.

use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::secret::Secret;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

/// How long one key seals.
const EPOCH: Duration = Duration::from_secs(6 * 60 * 60);

/// What a ticket begins with tells its epoch to those who have the secret, and nothing to others.
const NAME_LEN: usize = 16;

/// Seals and opens the tickets of one listener.
pub(super) struct Tickets {
    keys: Prk,
    random: SystemRandom,
    now: fn() -> Duration,
}

impl Tickets {
    /// A ticket of another `listener` is not opened.
    pub(super) fn new(secret: &Secret, listener: &str) -> Self {
        Self {
            keys: Salt::new(HKDF_SHA256, listener.as_bytes()).extract(secret.bytes()),
            random: SystemRandom::new(),
            now: monotonic,
        }
    }

    fn epoch(&self) -> u64 {
        (self.now)().as_secs() / EPOCH.as_secs()
    }

    fn derive<const N: usize>(&self, what: &[u8], epoch: u64) -> Option<[u8; N]> {
        struct Length(usize);
        impl KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut derived = [0; N];
        let epoch = epoch.to_be_bytes();
        let info = [what, epoch.as_slice()];
        let material = self.keys.expand(&info, Length(N)).ok()?;
        material.fill(&mut derived).ok()?;
        Some(derived)
    }

    fn name(&self, epoch: u64) -> Option<[u8; NAME_LEN]> {
        self.derive(b"hatchery ticket name", epoch)
    }

    fn key(&self, epoch: u64) -> Option<LessSafeKey> {
        let key: [u8; 32] = self.derive(b"hatchery ticket key", epoch)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?;
        Some(LessSafeKey::new(key))
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(EPOCH.as_secs()).unwrap_or(u32::MAX)
    }

    /// Name, nonce, sealed state. A random nonce, for there is no counter that all workers share.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let epoch = self.epoch();
        let name = self.name(epoch)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        self.key(epoch)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name),
                &mut sealed,
            )
            .ok()?;
        Some([name.as_slice(), nonce.as_slice(), sealed.as_slice()].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let now = self.epoch();
        let epochs = [Some(now), now.checked_sub(1)];
        let mut epochs = epochs.into_iter().flatten();
        let epoch = epochs.find(|epoch| self.name(*epoch).as_ref() == Some(name))?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .key(epoch)?
            .open_in_place(nonce, Aad::from(*name), &mut sealed)
            .ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(secret: &Secret, now: fn() -> Duration) -> Tickets {
        Tickets {
            now,
            ..Tickets::new(secret, "127.0.0.1:443")
        }
    }

    #[test]
    fn a_ticket_is_opened_by_every_worker_in_its_epoch_and_the_next() {
        let secret = Secret::random().unwrap();
        let sealed = at(&secret, || EPOCH * 7).encrypt(b"state").unwrap();
        let opens = |now| at(&secret, now).decrypt(&sealed).as_deref() == Some(b"state");
        assert!(opens(|| EPOCH * 7));
        assert!(opens(|| (EPOCH * 9).saturating_sub(SECOND)));
        assert!(!opens(|| EPOCH * 9), "it is too old");
        assert!(
            !opens(|| (EPOCH * 7).saturating_sub(SECOND)),
            "it is of the future"
        );
        let again = at(&secret, || EPOCH * 7).encrypt(b"state").unwrap();
        assert_ne!(again, sealed);
        // The first epoch has none before it.
        let first = at(&secret, || Duration::ZERO);
        let sealed = first.encrypt(b"state").unwrap();
        assert_eq!(first.decrypt(&sealed).unwrap(), b"state");
    }

    #[test]
    fn nothing_else_is_opened() {
        let secret = Secret::random().unwrap();
        let tickets = Tickets::new(&secret, "127.0.0.1:443");
        let sealed = tickets.encrypt(b"state").unwrap();
        let others = [
            Tickets::new(&Secret::random().unwrap(), "127.0.0.1:443"),
            Tickets::new(&secret, "127.0.0.1:444"),
        ];
        for other in others {
            assert_eq!(other.decrypt(&sealed), None);
        }
        for end in 0..sealed.len() {
            assert_eq!(tickets.decrypt(&sealed[..end]), None);
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(tickets.decrypt(&damaged), None);
        }
    }
}
