//! Numbers of bytes.

use std::fmt;

use bytesize::ByteSize;

use super::Parsed;

/// Less than any process has.
const MIN_MEMORY: u64 = 1 << 20;

/// More than any machine has.
const MAX_MEMORY: u64 = 1 << 50;

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

/// Below the least, a message that is not even large would fill the queue.
pub(crate) fn message_size(text: &str) -> Parsed<Size> {
    match size(text)? {
        size if (64 << 10..=256 << 20).contains(&size.0) => Ok(size),
        _ => Err("it must be from 64KiB to 256MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(message_size("256MiB").unwrap().0, 256 << 20);
        for text in ["63KiB", "257MiB", "1GiB"] {
            let error = message_size(text).unwrap_err();
            assert_eq!(error, "it must be from 64KiB to 256MiB", "{text}");
        }
        for text in ["1023KiB", "2PiB", "512"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
