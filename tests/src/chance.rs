//! Choices that a seed repeats.

/// `SplitMix64`.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From the number in this variable of the environment, or from one that differs from run to run. Shows it, so that a
    /// run that failed can be repeated.
    #[track_caller]
    pub fn of(variable: &str) -> Self {
        let seed = number(variable, u64::from(std::process::id()));
        eprintln!("{variable}={seed}");
        Self(seed)
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

/// The number in a variable of the environment.
#[track_caller]
pub fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
        Err(_) => otherwise,
    }
}
