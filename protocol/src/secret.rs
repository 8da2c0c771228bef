//! Bytes that no log, no file and no other user may see.
//!
//! They travel on the link alone, a socket that belongs to two processes. What is printed of them are
//! their type's name and two dots.

use std::fmt;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// 256 random bits that all workers of a cluster share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one from the kernel.
    ///
    /// # Errors
    ///
    /// As getrandom(2).
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        // So few bytes come whole, or not at all (getrandom(2)).
        let count = getrandom(&mut bytes, GetRandomFlags::empty())?;
        if count < bytes.len() {
            return Err(io::Error::other("the kernel gave too few random bytes"));
        }
        Ok(Self(bytes))
    }

    /// What to derive keys from.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_random_travels_whole_and_is_not_shown() {
        let secret = Secret::random().unwrap();
        assert_ne!(secret, Secret::random().unwrap());
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<Secret>(&json).unwrap(), secret);
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
    }
}
