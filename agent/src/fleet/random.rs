//! Numbers that nobody else has, and pauses that not everybody makes alike.
//!
//! From the keys that the standard library takes from the kernel for its maps: 64 bits that cannot be guessed
//! and, unlike reading them oneself, cannot fail. No secret rests on them.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// 128 random bits, as text.
pub(super) fn name() -> String {
    format!("{:016x}{:016x}", number(), number())
}

/// Between a half and all of it.
pub(super) fn part_of(pause: Duration) -> Duration {
    let half = pause / 2;
    let steps = u32::try_from(number() % 1024).unwrap_or(0);
    half + half * steps / 1024
}

/// 64 of them.
pub(super) fn number() -> u64 {
    // The process and the moment, too: a copy of a suspended machine continues with the same keys.
    RandomState::new().hash_one((std::process::id(), hatchery_protocol::clock::monotonic()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_names_are_the_same() {
        let names: HashSet<String> = (0..10_000).map(|_| name()).collect();
        assert_eq!(names.len(), 10_000);
    }

    #[test]
    fn a_pause_is_at_least_half_as_long() {
        let pause = Duration::from_secs(10);
        let pauses: Vec<_> = (0..1000).map(|_| part_of(pause)).collect();
        assert!(pauses.iter().all(|p| (pause / 2..=pause).contains(p)));
        assert!(pauses.iter().any(|p| *p > pause * 9 / 10));
        assert!(pauses.iter().any(|p| *p < pause * 6 / 10));
    }
}
