//! How values are written: text in, a checked value or one sentence out.
//!
//! The same functions serve flags, variables and the file, so a value means the same wherever it stands.
//! The sentences say what is expected; who reports them adds the key, the value and the source.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use hatchery_master::{CpuAffinity, Listen, Strategy, Weights};
use hatchery_protocol::boot::{LogFormat, OnMasterDeath};
use hatchery_protocol::control::{MAX_WORKERS, Scale};

/// What a parser answers; the error completes "bad value ...: ".
pub(crate) type Parsed<T> = Result<T, String>;

/// The most threads one worker may have.
const MAX_THREADS: u32 = 1024;

/// The least silence after which a master counts as lost: it beats once a second.
const MIN_MASTER_TIMEOUT: Duration = Duration::from_secs(2);

/// The least time in which a process shows that its runtime runs: it proves it to itself once a second, and is
/// asked once a second.
const MIN_WORKER_TIMEOUT: Duration = Duration::from_secs(3);

/// Less than any process has.
const MIN_MEMORY: u64 = 1 << 20;

/// More than any machine has.
const MAX_MEMORY: u64 = 1 << 50;

/// With more, a worker could be replaced as soon as it serves.
const MAX_JITTER: u32 = 90;

/// Above any sane timeout, and far below where adding it to a clock overflows.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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

fn count(text: &str, most: u32) -> Option<u32> {
    text.parse().ok().filter(|n| (1..=most).contains(n))
}

pub(crate) fn port(text: &str) -> Parsed<u16> {
    text.parse()
        .map_err(|_| "it must be a port from 0 to 65535 (0: the kernel chooses)".to_owned())
}

pub(crate) fn listen(text: &str) -> Parsed<Listen> {
    text.trim().parse().map_err(sentence)
}

pub(crate) fn strategy(text: &str) -> Parsed<Strategy> {
    text.parse().map_err(sentence)
}

/// How much a slot gets.
pub(crate) fn weight(text: &str) -> Parsed<u32> {
    count(text.trim(), Weights::MAX)
        .ok_or_else(|| format!("it must be numbers from 1 to {}", Weights::MAX))
}

fn sentence(error: impl std::error::Error) -> String {
    error.to_string()
}

/// A name becomes a directory and stands in logs, so it is kept to what is harmless in both.
pub(crate) fn name(text: &str) -> Parsed<String> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=64).contains(&text.len()) && text.chars().all(harmless);
    if fits && !matches!(text, "." | "..") {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 characters out of A-Z a-z 0-9 . _ -".to_owned())
    }
}

/// The name or the number of a user or of a group. Whether there is one is another question.
pub(crate) fn account(text: &str) -> Parsed<String> {
    if text.is_empty() || text.contains([':', '\0']) {
        return Err("it must be a name or a number".to_owned());
    }
    Ok(text.to_owned())
}

/// Which permissions new files lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Umask(pub(crate) u32);

impl fmt::Display for Umask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

pub(crate) fn umask(text: &str) -> Parsed<Umask> {
    let octal = !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    octal
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .filter(|mask| *mask <= 0o777)
        .map(Umask)
        .ok_or_else(|| "it must be octal, like 027, and at most 777".to_owned())
}

pub(crate) fn nice(text: &str) -> Parsed<i32> {
    text.parse()
        .ok()
        .filter(|nice| (-20..=19).contains(nice))
        .ok_or_else(|| "it must be a number from -20 to 19".to_owned())
}

/// One that is not a standard stream: those are passed on in any case.
pub(crate) fn descriptor(text: &str) -> Parsed<i32> {
    text.trim()
        .parse()
        .ok()
        .filter(|fd| *fd >= 3)
        .ok_or_else(|| "it must be numbers of descriptors from 3 on".to_owned())
}

pub(crate) fn cpu_affinity(text: &str) -> Parsed<CpuAffinity> {
    text.parse()
}

pub(crate) fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() {
        return Err("it must be a path, it is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("a path has no zero byte".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(crate) fn switch(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("it must be true or false".to_owned()),
    }
}

pub(crate) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it must be text or json".to_owned()),
    }
}

pub(crate) fn on_master_death(text: &str) -> Parsed<OnMasterDeath> {
    match text {
        "drain" => Ok(OnMasterDeath::Drain),
        "kill" => Ok(OnMasterDeath::Kill),
        _ => Err("it must be drain or kill".to_owned()),
    }
}

/// Checks a filter without keeping what was parsed: it travels to the children as text.
pub(crate) fn log_level(text: &str) -> Parsed<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // A word alone is a valid filter (everything of that crate, nothing else), but is never meant:
    // `--log-level inof` would turn the log off without a word.
    let word = !text.contains(['=', ',', '[']);
    if word && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text)) {
        return Err(format!(
            "it must be one of {}, or a filter like info,my_app=debug",
            LEVELS.join(", ")
        ));
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("it is not a log filter ({error})"))
}

/// A time that may be zero.
pub(crate) fn duration(text: &str) -> Parsed<Duration> {
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("add a unit, as in {trimmed}s or {trimmed}ms"));
    }
    let duration = humantime::parse_duration(trimmed)
        .map_err(|_| "it must be a time like 500ms, 2s or 1m".to_owned())?;
    if duration > MAX_DURATION {
        return Err("it must be at most 365 days".to_owned());
    }
    Ok(duration)
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    /// Exactly, for it is read again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1024) => write!(f, "{}KiB", bytes / 1024),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

fn size(text: &str) -> Parsed<Size> {
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("add a unit, as in {trimmed}KiB or {trimmed}B"));
    }
    let size: ByteSize = trimmed
        .parse()
        .map_err(|_| "it must be a size like 64KiB or 1MiB")?;
    Ok(Size(size.as_u64()))
}

/// How much memory a process may have.
pub(crate) fn memory(text: &str) -> Parsed<Size> {
    match size(text)? {
        size if size.0 == 0 || (MIN_MEMORY..=MAX_MEMORY).contains(&size.0) => Ok(size),
        _ => Err("it must be from 1MiB to 1PiB, or 0B for no limit".to_owned()),
    }
}

/// Below the least, hyper refuses to work; above the most, a few clients would take all the memory.
pub(crate) fn header_size(text: &str) -> Parsed<Size> {
    match size(text)? {
        size if (8 << 10..=16 << 20).contains(&size.0) => Ok(size),
        _ => Err("it must be from 8KiB to 16MiB".to_owned()),
    }
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

/// A time in which something has to happen.
pub(crate) fn timeout(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than zero".to_owned()),
        duration => Ok(duration),
    }
}

pub(crate) fn master_timeout(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        short if short < MIN_MASTER_TIMEOUT => {
            Err("it must be at least 2s, for the master beats once a second".to_owned())
        }
        duration => Ok(duration),
    }
}

pub(crate) fn worker_timeout(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        short if !short.is_zero() && short < MIN_WORKER_TIMEOUT => Err(
            "it must be at least 3s, for a process is heard once a second, or 0s for never"
                .to_owned(),
        ),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("500ms", ms(500)),
            ("2s", ms(2000)),
            ("1m", ms(60_000)),
            ("1m 30s", ms(90_000)),
            ("0s", ms(0)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for (text, sentence) in [
            ("30", "add a unit, as in 30s or 30ms"),
            ("0", "add a unit, as in 0s or 0ms"),
            ("1.5", "add a unit, as in 1.5s or 1.5ms"),
            ("", "it must be a time like 500ms, 2s or 1m"),
            ("-1s", "it must be a time like 500ms, 2s or 1m"),
            ("2 parsecs", "it must be a time like 500ms, 2s or 1m"),
            ("2years", "it must be at most 365 days"),
            (
                "99999999999999999999s",
                "it must be a time like 500ms, 2s or 1m",
            ),
        ] {
            assert_eq!(duration(text), Err(sentence.to_owned()), "{text}");
        }
        assert_eq!(timeout("1ms"), Ok(ms(1)));
        assert!(timeout("0s").unwrap_err().contains("more than zero"));
        assert_eq!(master_timeout("2s"), Ok(ms(2000)));
        assert_eq!(worker_timeout("0s"), Ok(ms(0)));
        assert_eq!(worker_timeout("3s"), Ok(ms(3000)));
        assert!(worker_timeout("2s").unwrap_err().contains("at least 3s"));
        assert!(
            master_timeout("1999ms")
                .unwrap_err()
                .contains("at least 2s")
        );
    }

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
    fn sizes() {
        for (text, bytes, shown) in [
            ("8KiB", 8 << 10, "8KiB"),
            ("64 KiB", 64 << 10, "64KiB"),
            ("1MiB", 1 << 20, "1024KiB"),
            ("1.5MiB", 3 << 19, "1536KiB"),
            ("10000B", 10_000, "10000B"),
            ("16MiB", 16 << 20, "16384KiB"),
        ] {
            let size = header_size(text).unwrap();
            assert_eq!(
                (size.0, size.to_string().as_str()),
                (bytes, shown),
                "{text}"
            );
        }
        for (text, sentence) in [
            ("65536", "add a unit, as in 65536KiB or 65536B"),
            ("", "it must be a size like 64KiB or 1MiB"),
            ("KiB", "it must be a size like 64KiB or 1MiB"),
            ("64 sacks", "it must be a size like 64KiB or 1MiB"),
            ("-8KiB", "it must be a size like 64KiB or 1MiB"),
            ("99999999999B", "it must be from 8KiB to 16MiB"),
            ("8191B", "it must be from 8KiB to 16MiB"),
            ("17MiB", "it must be from 8KiB to 16MiB"),
        ] {
            assert_eq!(header_size(text), Err(sentence.to_owned()), "{text}");
        }
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("1MiB", 1 << 20, "1024KiB"),
            ("8 GiB", 8 << 30, "8388608KiB"),
        ] {
            let size = memory(text).unwrap();
            let shown_as = size.to_string();
            assert_eq!((size.0, &*shown_as), (bytes, shown), "{text}");
        }
        for text in ["1023KiB", "2PiB", "512"] {
            assert!(memory(text).is_err(), "{text}");
        }
        assert_eq!(limit("0"), Ok(0));
        for text in ["", "-1", "many", "4294967296"] {
            assert!(limit(text).unwrap_err().contains("0: no limit"), "{text}");
        }
    }

    #[test]
    fn limits_of_a_workers_life() {
        assert_eq!(count_of_requests("10000000000"), Ok(10_000_000_000));
        assert!(count_of_requests("18446744073709551615").is_err());
        assert_eq!((jitter("0"), jitter("10%")), (Ok(0), Ok(10)));
        for text in ["91", "-1", "", "a tenth"] {
            assert!(jitter(text).unwrap_err().contains("from 0 to 90"), "{text}");
        }
    }

    #[test]
    fn names() {
        for text in ["a", "my-app", "my.app_2", &"x".repeat(64)] {
            assert_eq!(name(text), Ok(text.to_owned()));
        }
        for text in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn masks_and_priorities() {
        for (text, mask, shown) in [
            ("027", 0o27, "027"),
            ("0", 0, "000"),
            ("0777", 0o777, "777"),
        ] {
            let umask = umask(text).unwrap();
            assert_eq!((umask.0, umask.to_string().as_str()), (mask, shown));
        }
        for text in ["", "028", "1000", "-1", "+7", "u=rw", "7777777777777"] {
            assert!(umask(text).is_err(), "{text}");
        }
        assert_eq!(
            [nice("-20"), nice("0"), nice("19")],
            [Ok(-20), Ok(0), Ok(19)]
        );
        for text in ["", "-21", "20", "low"] {
            assert!(nice(text).unwrap_err().contains("-20 to 19"), "{text}");
        }
        for text in ["", "a:b"] {
            assert!(account(text).is_err(), "{text}");
        }
    }

    #[test]
    fn log_filters() {
        for text in [
            "info",
            "OFF",
            "info,my_app=debug",
            "my_app[span]=trace",
            "my_app=debug",
        ] {
            assert_eq!(log_level(text), Ok(text.to_owned()));
        }
        for text in ["inof", "", "my_app", "info,a=b=c", "my_app=loud"] {
            assert!(log_level(text).is_err(), "{text:?}");
        }
    }
}
