//! What a process is called, is allowed and is given.

use std::fmt;
use std::path::PathBuf;

use hatchery_master::{CpuAffinity, CpuScheduling};

use super::Parsed;

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

pub(crate) fn cpu_scheduling(text: &str) -> Parsed<CpuScheduling> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
