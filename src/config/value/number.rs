//! Numbers of processes, threads, connections and requests.

use std::fmt;

use hatchery_master::Weights;
use hatchery_protocol::control::{MAX_WORKERS, Scale};

use super::Parsed;

/// The most threads one worker may have.
const MAX_THREADS: u32 = 1024;

/// With more, a worker could be replaced as soon as it serves.
const MAX_JITTER: u32 = 90;

/// How many workers: a number, or as many as this process may use CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    Auto,
    Count(u32),
}

impl Workers {
    /// The number. `Auto` asks the CPU affinity and the cgroup's quota, which is rounded up.
    pub(crate) fn count(self) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Auto => hatchery_master::usable_cpus().min(MAX_WORKERS),
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

pub(crate) fn workers(text: &str) -> Parsed<Workers> {
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    count(text, MAX_WORKERS)
        .map(Workers::Count)
        .ok_or_else(|| format!("it must be a number from 1 to {MAX_WORKERS}, or auto"))
}

pub(crate) fn scale(text: &str) -> Parsed<Scale> {
    match text {
        "+1" => Ok(Scale::OneMore),
        "-1" => Ok(Scale::OneLess),
        _ => count(text, MAX_WORKERS)
            .filter(|_| !text.starts_with('+'))
            .map(Scale::Workers)
            .ok_or_else(|| format!("it must be a number from 1 to {MAX_WORKERS}, or +1, or -1")),
    }
}

pub(crate) fn threads(text: &str) -> Parsed<u32> {
    count(text, MAX_THREADS).ok_or_else(|| format!("it must be a number from 1 to {MAX_THREADS}"))
}

/// How many workers are replaced at once.
pub(crate) fn surge(text: &str) -> Parsed<u32> {
    count(text, MAX_WORKERS).ok_or_else(|| format!("it must be a number from 1 to {MAX_WORKERS}"))
}

fn count(text: &str, most: u32) -> Option<u32> {
    text.parse().ok().filter(|n| (1..=most).contains(n))
}

pub(crate) fn port(text: &str) -> Parsed<u16> {
    text.parse()
        .map_err(|_| "it must be a port from 0 to 65535 (0: the kernel chooses)".to_owned())
}

/// How much a slot gets.
pub(crate) fn weight(text: &str) -> Parsed<u32> {
    count(text.trim(), Weights::MAX)
        .ok_or_else(|| format!("it must be numbers from 1 to {}", Weights::MAX))
}

/// How many of something there may be.
pub(crate) fn limit(text: &str) -> Parsed<u32> {
    text.parse()
        .map_err(|_| "it must be a number (0: no limit)".to_owned())
}

/// How many requests a worker may serve.
pub(crate) fn count_of_requests(text: &str) -> Parsed<u64> {
    text.parse()
        .ok()
        .filter(|count| i64::try_from(*count).is_ok())
        .ok_or_else(|| "it must be a number (0: no limit)".to_owned())
}

/// By how much limits vary.
pub(crate) fn jitter(text: &str) -> Parsed<u32> {
    text.trim_end_matches('%')
        .parse()
        .ok()
        .filter(|percent| *percent <= MAX_JITTER)
        .ok_or_else(|| format!("it must be a number from 0 to {MAX_JITTER}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_counted_or_automatic() {
        assert_eq!(workers("auto"), Ok(Workers::Auto));
        assert_eq!(workers("1"), Ok(Workers::Count(1)));
        assert_eq!(workers("1024"), Ok(Workers::Count(1024)));
        for text in ["0", "1025", "-1", "two", "", "1.5", "99999999999"] {
            assert!(
                workers(text)
                    .unwrap_err()
                    .contains("from 1 to 1024, or auto"),
                "{text}"
            );
        }
        assert!((1..=MAX_WORKERS).contains(&Workers::Auto.count()));
    }

    #[test]
    fn limits() {
        assert_eq!(limit("0"), Ok(0));
        for text in ["", "-1", "many", "4294967296"] {
            assert!(limit(text).unwrap_err().contains("0: no limit"), "{text}");
        }
        assert_eq!(count_of_requests("10000000000"), Ok(10_000_000_000));
        assert!(count_of_requests("18446744073709551615").is_err());
        assert_eq!((surge("1"), surge("1024")), (Ok(1), Ok(1024)));
        for text in ["0", "1025", "all", ""] {
            assert!(
                surge(text).unwrap_err().contains("from 1 to 1024"),
                "{text}"
            );
        }
        assert_eq!((jitter("0"), jitter("10%")), (Ok(0), Ok(10)));
        for text in ["91", "-1", "", "a tenth"] {
            assert!(jitter(text).unwrap_err().contains("from 0 to 90"), "{text}");
        }
    }
}
