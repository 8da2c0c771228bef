//! Numbers that look random and are the same for the same seed, on every machine and for ever.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood 2014): 64 bits of state, no bad seeds.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `0..n`. The bias of the remainder is of no concern here.
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True in so many of a thousand cases.
    pub(crate) const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Any moment up to and including `longest`, in whole milliseconds.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis(self.below(millis + 1))
    }

    /// Between the two, with every order of magnitude as likely as the next: most things in a
    /// cluster's life take milliseconds or minutes, and what lies between should not drown both.
    pub(crate) fn of_any_size(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let mut ceiling = longest;
        while ceiling > shortest * 2 && self.chance(600) {
            ceiling /= 2;
        }
        shortest + self.up_to(ceiling.saturating_sub(shortest))
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T], otherwise: T) -> T {
        let index = self.below(choices.len().max(1) as u64);
        let index = usize::try_from(index).unwrap_or(0);
        choices.get(index).copied().unwrap_or(otherwise)
    }
}
