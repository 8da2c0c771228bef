//! Descriptors kept for the day on which there are none: a master that leaks or is flooded elsewhere goes on
//! handing over connections, each of which needs a descriptor for a moment only.

use std::os::fd::{AsFd, OwnedFd};

/// How many connections can be under way on the reserve alone.
const SIZE: usize = 32;

/// Descriptors that serve nothing.
#[derive(Debug, Default)]
pub(super) struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// Puts descriptors by, as far as there are any. `any` descriptor will do for a pattern.
    pub(super) fn fill(&mut self, any: impl AsFd) {
        while self.0.len() < SIZE {
            match rustix::io::fcntl_dupfd_cloexec(&any, 3) {
                Ok(spare) => self.0.push(spare),
                Err(_) => return,
            }
        }
    }

    /// Frees one. `false`: there is none.
    pub(super) fn release(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
