//! Times, and the least that some of them make sense with.

use std::time::Duration;

use super::Parsed;

/// The least silence after which a master counts as lost: it beats once a second.
const MIN_MASTER_TIMEOUT: Duration = Duration::from_secs(2);

/// The least time in which a process shows that its runtime runs: it proves it to itself once a second, and is
/// asked once a second.
const MIN_WORKER_TIMEOUT: Duration = Duration::from_secs(3);

/// Above any sane timeout, and far below where adding it to a clock overflows.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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
}
