//! What a child writes before it is ready.
//!
//! Until then its standard output and error are pipes to the master, which passes every line on as it
//! is and remembers the last few, to quote them if the start fails. Afterwards the child writes where
//! the master writes, without the master in between.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;

/// How many lines are remembered.
const LINES: usize = 20;
/// How many bytes of a line are remembered, and passed on before its end is there.
const LINE_BYTES: usize = 4096;

/// The last lines of one child, from both streams as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    pub(crate) fn take(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lines).into()
    }

    fn remember(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        if text.is_empty() {
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// Passes on what comes from `pipe`, in whole lines, until everyone who could write to it is gone.
pub(crate) async fn relay(pipe: OwnedFd, mut to: impl AsyncWrite + Unpin, tail: Tail) {
    let Ok(mut pipe) = Receiver::from_owned_fd(pipe) else {
        return;
    };
    let mut chunk = vec![0; LINE_BYTES];
    let mut pending = Vec::new();
    loop {
        let count = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        pending.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let whole = match pending.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if pending.len() >= LINE_BYTES => pending.len(),
            None => continue,
        };
        let rest = pending.split_off(whole);
        pass_on(&pending, &mut to, &tail).await;
        pending = rest;
    }
    if !pending.is_empty() {
        pending.push(b'\n');
        pass_on(&pending, &mut to, &tail).await;
    }
}

async fn pass_on(lines: &[u8], to: &mut (impl AsyncWrite + Unpin), tail: &Tail) {
    for line in lines.split(|byte| *byte == b'\n') {
        tail.remember(line);
    }
    // Where the master's own output goes nowhere, the child's goes there, too.
    let _ = to.write_all(lines).await;
    let _ = to.flush().await;
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn lines_pass_unchanged_and_the_last_ones_are_remembered() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let written = std::thread::spawn(move || {
            for n in 0..50 {
                writeln!(writer, "line {n}").unwrap();
            }
            write!(writer, "no end").unwrap();
        });
        let tail = Tail::default();
        let mut out = Vec::new();
        relay(reader.into(), &mut out, tail.clone()).await;
        written.join().unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(
            out.starts_with("line 0\nline 1\n") && out.ends_with("line 49\nno end\n"),
            "{out}"
        );
        let lines = tail.take();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.last().unwrap(), "no end");
        assert_eq!(lines.first().unwrap(), "line 31");
    }

    #[tokio::test]
    async fn a_line_without_end_is_passed_on_in_pieces() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let written = std::thread::spawn(move || writer.write_all(&vec![b'x'; 100_000]).unwrap());
        let mut out = Vec::new();
        relay(reader.into(), &mut out, Tail::default()).await;
        written.join().unwrap();
        out.retain(|byte| *byte == b'x');
        assert_eq!(out.len(), 100_000);
    }
}
