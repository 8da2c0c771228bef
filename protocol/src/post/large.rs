//! Payloads in sealed memory files.
//!
//! The seals are the promise that lets several processes read one copy: nobody can change or shorten it any more,
//! its author included. A receiver checks them before it reads.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use thiserror::Error;

const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW);

/// Why a memory file is no payload.
#[derive(Debug, Error)]
pub enum LargeError {
    /// It may still change.
    #[error("a large payload is in a file that is not sealed")]
    NotSealed,
    /// Its size is not what was said.
    #[error("a large payload has {found} bytes, and {said} were announced")]
    Size {
        /// What the header says.
        said: u32,
        /// How many there are.
        found: u64,
    },
    /// It cannot be read.
    #[error("a large payload cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Puts a payload into a memory file that nobody can change.
///
/// # Errors
///
/// As memfd_create(2) and write(2): no descriptors left, or no memory.
pub fn sealed(payload: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(c"hatchery-message", flags)?;
    let mut rest = payload;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file)
}

/// Reads a payload of `length` bytes out of its memory file.
///
/// # Errors
///
/// The file is not sealed, or has another size, or cannot be read.
pub fn read_sealed(file: impl AsFd, length: u32) -> Result<Vec<u8>, LargeError> {
    // What is no memory file has no seals.
    let seals = fcntl_get_seals(&file).map_err(|_| LargeError::NotSealed)?;
    if !seals.contains(SEALS) {
        return Err(LargeError::NotSealed);
    }
    let found = fstat(&file).map_err(io::Error::from)?.st_size;
    let found = u64::try_from(found).unwrap_or_default();
    if found != u64::from(length) {
        return Err(LargeError::Size {
            said: length,
            found,
        });
    }
    let mut payload = Vec::with_capacity(length as usize);
    while payload.len() < length as usize {
        let at = payload.len() as u64;
        let read = rustix::io::pread(&file, spare_capacity(&mut payload), at);
        if read.map_err(io::Error::from)? == 0 {
            let found = payload.len() as u64;
            return Err(LargeError::Size {
                said: length,
                found,
            });
        }
    }
    payload.truncate(length as usize);
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_can_be_read_again() {
        let payload: Vec<u8> = (0..100_000).map(|i: u32| i.to_le_bytes()[0]).collect();
        let file = sealed(&payload).unwrap();
        for _ in 0..2 {
            assert_eq!(read_sealed(&file, 100_000).unwrap(), payload);
        }
        assert!(rustix::io::write(&file, b"x").is_err());
        assert!(matches!(
            read_sealed(&file, 99_999),
            Err(LargeError::Size { found: 100_000, .. })
        ));
    }

    #[test]
    fn what_could_still_change_is_refused() {
        let open = memfd_create(c"test", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(matches!(read_sealed(&open, 0), Err(LargeError::NotSealed)));
        let (pipe, _) = io::pipe().unwrap();
        assert!(matches!(read_sealed(&pipe, 0), Err(LargeError::NotSealed)));
    }
}
