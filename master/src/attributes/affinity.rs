//! Which CPUs each slot has.
//!
//! A replacement has the CPUs of its slot, whoever had them before. The agent is bound to none: it has little
//! to do, and should do that wherever there is room.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity};
use thiserror::Error;

/// How CPUs are given to slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CpuAffinity {
    /// Each slot in turn as many of the CPUs that this process may use as a worker has threads.
    Auto,
    /// Each slot in turn one of these sets.
    Sets(Vec<BTreeSet<u32>>),
}

/// A CPU that this process may not use.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "`cpu_affinity` cannot be {wanted}: CPU {cpu} is none of those that may be used here ({allowed})"
)]
pub struct AffinityError {
    wanted: String,
    cpu: u32,
    allowed: String,
}

impl CpuAffinity {
    /// The sets to give out in turn; `threads` of each worker.
    ///
    /// # Errors
    ///
    /// A CPU that there is not, or that this process may not use.
    pub fn settle(&self, threads: u32) -> Result<Vec<Vec<u32>>, AffinityError> {
        // Where the kernel does not tell, it will judge.
        match sched_getaffinity(None) {
            Ok(allowed) => self.settle_among(&numbers(&allowed), threads),
            Err(_) => Ok(match self {
                Self::Auto => Vec::new(),
                Self::Sets(sets) => sets
                    .iter()
                    .map(|set| set.iter().copied().collect())
                    .collect(),
            }),
        }
    }

    fn settle_among(&self, allowed: &[u32], threads: u32) -> Result<Vec<Vec<u32>>, AffinityError> {
        let sets = match self {
            Self::Auto => return Ok(deal(allowed, threads)),
            Self::Sets(sets) => sets,
        };
        if let Some(cpu) = sets.iter().flatten().find(|cpu| !allowed.contains(cpu)) {
            return Err(AffinityError {
                wanted: self.to_string(),
                cpu: *cpu,
                allowed: ranges(allowed.iter().copied()),
            });
        }
        Ok(sets
            .iter()
            .map(|set| set.iter().copied().collect())
            .collect())
    }
}

fn numbers(set: &CpuSet) -> Vec<u32> {
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect()
}

/// Hands `each` CPUs to one slot after the other until the turn is where it began.
fn deal(allowed: &[u32], each: u32) -> Vec<Vec<u32>> {
    let each = usize::try_from(each).map_or(allowed.len(), |each| each.min(allowed.len()));
    let mut hands: Vec<Vec<u32>> = Vec::new();
    let mut cards = allowed.iter().copied().cycle();
    // As many hands as there are CPUs come round in any case: `each` hands of them are whole rounds.
    for _ in 0..allowed.len() {
        hands.push(cards.by_ref().take(each).collect());
    }
    hands
}

/// `0-3,8`.
fn ranges(cpus: impl IntoIterator<Item = u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(cpu) => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let run = |(first, last): (u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    runs.into_iter().map(run).collect::<Vec<_>>().join(",")
}

impl fmt::Display for CpuAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Sets(sets) => {
                let sets: Vec<_> = sets.iter().map(|set| ranges(set.iter().copied())).collect();
                f.write_str(&sets.join(";"))
            }
        }
    }
}

impl FromStr for CpuAffinity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let sets: Option<Vec<_>> = text.split(';').map(set).collect();
        sets.map(Self::Sets).ok_or_else(|| {
            "it must be auto, or the CPUs of each slot like 0;1;2-3,6, with slots in turn"
                .to_owned()
        })
    }
}

fn set(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for run in text.split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (cpu(first)?, cpu(last)?);
        if first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// A number that the kernel's sets can hold.
fn cpu(text: &str) -> Option<u32> {
    let cpu = text.trim().parse().ok()?;
    usize::try_from(cpu)
        .is_ok_and(|cpu| cpu < CpuSet::MAX_CPU)
        .then_some(cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_shown_again() {
        for (text, shown) in [
            ("auto", "auto"),
            ("0", "0"),
            ("0;1", "0;1"),
            ("0-3,8;4-7", "0-3,8;4-7"),
            ("3,1,2", "1-3"),
            ("1, 2; 5", "1-2;5"),
        ] {
            assert_eq!(text.parse::<CpuAffinity>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "all",
            "0;",
            ";",
            "1-",
            "-1",
            "3-1",
            "0,,1",
            "1024",
            "99999999999",
        ] {
            let error = text.parse::<CpuAffinity>().unwrap_err();
            assert!(error.contains("auto, or the CPUs"), "{text}: {error}");
        }
    }

    #[test]
    fn slots_take_turns() {
        let auto = CpuAffinity::Auto;
        let settled = |threads| auto.settle_among(&[2, 3, 7], threads).unwrap();
        assert_eq!(settled(1), [[2], [3], [7]]);
        assert_eq!(settled(2), [[2, 3], [7, 2], [3, 7]]);
        assert_eq!(settled(8), [[2, 3, 7], [2, 3, 7], [2, 3, 7]]);
        let said: CpuAffinity = "7;2-3".parse().unwrap();
        assert_eq!(
            said.settle_among(&[2, 3, 7], 1).unwrap(),
            [vec![7], vec![2, 3]]
        );
    }

    #[test]
    fn a_cpu_that_may_not_be_used_is_told() {
        let said: CpuAffinity = "2;3,4".parse().unwrap();
        let error = said.settle_among(&[1, 2, 3, 8], 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`cpu_affinity` cannot be 2;3-4: CPU 4 is none of those that may be used here (1-3,8)"
        );
    }
}
