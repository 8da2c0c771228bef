//! Nothing twice: which messages of each sender have come.
//!
//! A sender numbers what it sends. Those of its last [`WINDOW`] numbers that have come are known, and what is
//! older counts as known: better lost than heard twice. When another agent begins to pass things on, everything up to
//! the highest number counts as known, so that nothing comes late that another one would have passed on before.

use std::collections::HashMap;

use super::MemberId;

/// How many numbers back something new may be.
const WINDOW: usize = 1024;
/// How many senders are known; a fleet has no more members.
const MOST: usize = 4096;
const WORD: u64 = 64;

/// What has come, of each sender.
#[derive(Debug, Default)]
pub(super) struct Once {
    senders: HashMap<MemberId, Numbers>,
    /// Counts what came, to find the sender that was silent for longest.
    moment: u64,
}

#[derive(Debug)]
struct Numbers {
    highest: u64,
    /// What is not above it is not new.
    floor: u64,
    /// A ring with a bit for each of the numbers up to the highest.
    seen: [u64; WINDOW / 64],
    last: u64,
}

impl Once {
    /// Whether this message is a new one. From now on it is not.
    pub(super) fn is_new(&mut self, from: &MemberId, number: u64) -> bool {
        self.moment += 1;
        if let Some(numbers) = self.senders.get_mut(from) {
            numbers.last = self.moment;
            return numbers.take(number);
        }
        if self.senders.len() >= MOST {
            let silent = self.senders.iter().min_by_key(|(_, numbers)| numbers.last);
            if let Some(silent) = silent.map(|(from, _)| from.clone()) {
                self.senders.remove(&silent);
            }
        }
        let mut numbers = Numbers {
            highest: number,
            floor: 0,
            seen: [0; WINDOW / 64],
            last: self.moment,
        };
        numbers.set(number, true);
        self.senders.insert(from.clone(), numbers);
        true
    }

    /// What comes from now on is passed on by another one, from further back perhaps.
    pub(super) fn settle(&mut self) {
        for numbers in self.senders.values_mut() {
            numbers.floor = numbers.highest;
        }
    }
}

impl Numbers {
    fn take(&mut self, number: u64) -> bool {
        if number <= self.floor {
            return false;
        }
        if number > self.highest {
            let steps = number - self.highest;
            if steps >= WINDOW as u64 {
                self.seen = [0; WINDOW / 64];
            } else {
                for skipped in self.highest + 1..number {
                    self.set(skipped, false);
                }
            }
            self.highest = number;
        } else if self.highest - number >= WINDOW as u64 || self.is_set(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn place(number: u64) -> (usize, u64) {
        let bit = number % WINDOW as u64;
        // Below 16.
        let word = usize::try_from(bit / WORD).unwrap_or(0);
        (word, 1 << (bit % WORD))
    }

    fn is_set(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, number: u64, to: bool) {
        let (word, bit) = Self::place(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word = if to { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn member(name: impl std::fmt::Display) -> MemberId {
        MemberId(name.to_string())
    }

    #[test]
    fn each_sender_has_numbers_of_its_own() {
        let mut once = Once::default();
        for from in ["a", "b"] {
            for number in [7, 9, 8] {
                assert!(once.is_new(&member(from), number));
                assert!(!once.is_new(&member(from), number));
            }
        }
        assert!(once.is_new(&member("a"), 9 + WINDOW as u64));
        assert!(!once.is_new(&member("a"), 9), "too old to be known");
        assert!(once.is_new(&member("a"), 10));
    }

    #[test]
    fn what_another_one_passes_on_is_new_above_the_highest() {
        let mut once = Once::default();
        assert!(once.is_new(&member("a"), 5));
        once.settle();
        for (number, is_new) in [(4, false), (5, false), (8, true), (7, true), (7, false)] {
            assert_eq!(once.is_new(&member("a"), number), is_new, "{number}");
        }
        assert!(once.is_new(&member("b"), 1));
    }

    #[test]
    fn who_was_silent_for_longest_is_forgotten() {
        let mut once = Once::default();
        for name in 0..MOST {
            assert!(once.is_new(&member(name), 1));
        }
        assert!(!once.is_new(&member(0), 1));
        assert!(once.is_new(&member("one more"), 1));
        assert_eq!(once.senders.len(), MOST);
        assert!(!once.is_new(&member(0), 1));
        assert!(once.is_new(&member(1), 1));
    }

    proptest! {
        #[test]
        fn nothing_is_new_twice_and_what_is_close_is_new_once(
            steps in prop::collection::vec(-1100_i64..1100, 1..400)
        ) {
            let mut once = Once::default();
            let (mut at, mut highest) = (5000_i64, 0);
            let mut came = HashSet::new();
            for step in steps {
                at = (at + step).max(0);
                let number = at.unsigned_abs();
                let close = highest < number + WINDOW as u64;
                let is_new = once.is_new(&member("a"), number);
                prop_assert_eq!(is_new, close && came.insert(number));
                highest = highest.max(number);
            }
        }
    }
}
