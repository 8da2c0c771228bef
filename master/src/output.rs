//! What a child writes before it is ready.
//!
//! Until then its standard output and error are pipes to the master, which passes every line on as it
//! is and remembers the last few, to quote them if the start fails. Afterwards the child writes where
//! the master writes, without the master in between.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

/// How many lines are remembered.
const LINES: usize = 20;
/// How many bytes of a line are remembered, and passed on before its end is there.
const LINE_BYTES: usize = 4096;
/// How many pieces of output may wait for whoever reads the master's.
const LINES_WAITING: usize = 256;
/// How long the master's end waits for them.
const FLUSH: Duration = Duration::from_millis(500);

/// The last lines of one child, from both streams as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: Arc<Mutex<Remembered>>,
}

#[derive(Debug, Default)]
struct Remembered {
    lines: VecDeque<String>,
    /// Whether nothing is worth to be remembered any more.
    closed: bool,
}

impl Tail {
    /// The lines, and a clean slate.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().lines).into()
    }

    /// Forgets everything, also what has been written already and is still on its way here.
    pub(crate) fn close(&self) {
        *self.lock() = Remembered {
            lines: VecDeque::new(),
            closed: true,
        };
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        if text.is_empty() {
            return;
        }
        let mut remembered = self.lock();
        if remembered.closed {
            return;
        }
        if remembered.lines.len() == LINES {
            remembered.lines.pop_front();
        }
        remembered.lines.push_back(text);
    }
}

/// Where a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// The one thread that writes children's lines where the master's own output goes. Only this thread
/// waits when nobody reads there; a child that is starting then waits behind a full queue, as it would
/// without the master in between, and the master itself never does.
#[derive(Debug)]
pub(crate) struct Output {
    lines: mpsc::Sender<(Stream, Vec<u8>)>,
    done: blocking::Receiver<()>,
}

impl Output {
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, mut queue) = mpsc::channel::<(Stream, Vec<u8>)>(LINES_WAITING);
        let (finished, done) = blocking::channel();
        std::thread::Builder::new()
            .name("hatchery-output".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                while let Some((stream, lines)) = queue.blocking_recv() {
                    // Where the master's own output goes nowhere, the child's goes there, too.
                    let _ = match stream {
                        Stream::Out => io::stdout()
                            .write_all(&lines)
                            .and_then(|()| io::stdout().flush()),
                        Stream::Err => io::stderr().write_all(&lines),
                    };
                }
                // Nobody listens if the master did not want to wait so long.
                let _ = finished.send(());
            })?;
        Ok(Self { lines, done })
    }

    /// A way to write; as many as there are pipes.
    pub(crate) fn sender(&self) -> mpsc::Sender<(Stream, Vec<u8>)> {
        self.lines.clone()
    }

    /// Waits, for a moment, until everything is written.
    pub(crate) fn close(self) {
        drop(self.lines);
        let _ = self.done.recv_timeout(FLUSH);
    }
}

/// Passes on what comes from `pipe`, in whole lines, until everyone who could write to it is gone.
pub(crate) async fn relay(
    pipe: OwnedFd,
    stream: Stream,
    to: mpsc::Sender<(Stream, Vec<u8>)>,
    tail: Tail,
) {
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
        pass_on(pending, stream, &to, &tail).await;
        pending = rest;
    }
    if !pending.is_empty() {
        pending.push(b'\n');
        pass_on(pending, stream, &to, &tail).await;
    }
}

async fn pass_on(
    lines: Vec<u8>,
    stream: Stream,
    to: &mpsc::Sender<(Stream, Vec<u8>)>,
    tail: &Tail,
) {
    for line in lines.split(|byte| *byte == b'\n') {
        tail.remember(line);
    }
    // The receiver goes away with the master only.
    let _ = to.send((stream, lines)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn relayed(reader: io::PipeReader, tail: Tail) -> Vec<u8> {
        let (to, mut lines) = mpsc::channel(1);
        let relaying = tokio::spawn(relay(reader.into(), Stream::Out, to, tail));
        let mut out = Vec::new();
        while let Some((stream, line)) = lines.recv().await {
            assert_eq!(stream, Stream::Out);
            out.extend(line);
        }
        relaying.await.unwrap();
        out
    }

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
        let out = String::from_utf8(relayed(reader, tail.clone()).await).unwrap();
        written.join().unwrap();
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
    async fn what_comes_late_is_passed_on_and_not_remembered() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let tail = Tail::default();
        tail.remember(b"early");
        tail.close();
        writeln!(writer, "late").unwrap();
        drop(writer);
        assert_eq!(relayed(reader, tail.clone()).await, b"late\n");
        assert!(tail.take().is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_passed_on_in_pieces() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let written = std::thread::spawn(move || writer.write_all(&vec![b'x'; 100_000]).unwrap());
        let mut out = relayed(reader, Tail::default()).await;
        written.join().unwrap();
        out.retain(|byte| *byte == b'x');
        assert_eq!(out.len(), 100_000);
    }
}
