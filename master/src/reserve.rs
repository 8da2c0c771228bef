//! Descriptors kept for the day on which there are none: a master that leaks or is flooded elsewhere goes on
//! doing what needs a few.
//!
//! | who has some | what they are for |
//! |---|---|
//! | the thread that accepts | connections, each of which needs a descriptor for a moment only |
//! | the control socket | an operator who asks what is the matter |
//! | the main loop | the process that replaces a dead one |

use std::os::fd::{AsFd, OwnedFd};

/// Descriptors that serve nothing.
#[derive(Debug)]
pub(crate) struct Reserve {
    size: usize,
    spare: Vec<OwnedFd>,
}

impl Reserve {
    /// An empty one, for so many.
    pub(crate) const fn of(size: usize) -> Self {
        Self {
            size,
            spare: Vec::new(),
        }
    }

    /// Puts descriptors by, as far as there are any. `any` descriptor will do for a pattern.
    pub(crate) fn fill(&mut self, any: impl AsFd) {
        while self.spare.len() < self.size {
            match rustix::io::fcntl_dupfd_cloexec(&any, 3) {
                Ok(spare) => self.spare.push(spare),
                Err(_) => return,
            }
        }
    }

    /// Frees one. `false`: there is none.
    pub(crate) fn release(&mut self) -> bool {
        self.spare.pop().is_some()
    }

    /// Frees all. `false`: there are none.
    pub(crate) fn release_all(&mut self) -> bool {
        let some = !self.spare.is_empty();
        self.spare.clear();
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_by_can_be_had_again() {
        let mut reserve = Reserve::of(2);
        assert!(!reserve.release() && !reserve.release_all());
        reserve.fill(std::io::stdin());
        assert!(reserve.release() && reserve.release() && !reserve.release());
        reserve.fill(std::io::stdin());
        assert!(reserve.release_all() && !reserve.release_all());
    }
}
