//! Lines that wait for standard error.
//!
//! A blocked terminal or pipe holds up one thread and no other: when too many lines wait, further ones are
//! lost. At the end what waits is written, as long as standard error takes it. A busy machine may keep the
//! thread from running for seconds, and the last line is the one that says why the master ends.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines may wait.
const LINES: usize = 8192;
/// A reader that takes nothing for so long is not waited for.
const STUCK: Duration = Duration::from_secs(1);
/// Nor is one that is slow, or a thread that never gets its turn.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a full queue is tried again.
const PAUSE: Duration = Duration::from_millis(10);

enum Entry {
    Line(Vec<u8>),
    /// Everything before it is written: say so, and end.
    End(SyncSender<()>),
}

/// Where lines are put; the clones share a queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(SyncSender<Entry>);

impl Write for Queue {
    /// Takes one line, whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Full, or at its end: the line is lost.
        let _ = self.0.try_send(Entry::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what waits when it is dropped.
#[derive(Debug)]
pub(crate) struct Flush {
    queue: SyncSender<Entry>,
    writing: Arc<AtomicBool>,
}

/// Starts the thread that writes to standard error.
pub(super) fn to_stderr() -> io::Result<(Queue, Flush)> {
    start(io::stderr())
}

fn start(to: impl Write + Send + 'static) -> io::Result<(Queue, Flush)> {
    let (queue, entries) = sync_channel(LINES);
    let writing = Arc::new(AtomicBool::new(false));
    let flush = Flush {
        queue: queue.clone(),
        writing: Arc::clone(&writing),
    };
    thread::Builder::new()
        .name("hatchery-log".into())
        .spawn(move || write_all(&entries, to, &writing))?;
    Ok((Queue(queue), flush))
}

fn write_all(entries: &Receiver<Entry>, mut to: impl Write, writing: &AtomicBool) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                writing.store(true, Ordering::Relaxed);
                // A line that cannot be written is lost.
                let _ = to.write_all(&line);
                writing.store(false, Ordering::Relaxed);
            }
            Entry::End(done) => {
                let _ = done.send(());
                return;
            }
        }
    }
}

impl Flush {
    /// Puts the end behind the last line. `None`: nobody takes the lines before it.
    fn end(&self, limit: Instant) -> Option<Receiver<()>> {
        let (done, ended) = sync_channel(1);
        let mut end = Entry::End(done);
        let mut stuck = Instant::now() + STUCK;
        loop {
            match self.queue.try_send(end) {
                Ok(()) => return Some(ended),
                Err(TrySendError::Disconnected(_)) => return None,
                Err(TrySendError::Full(back)) => end = back,
            }
            if !self.writing.load(Ordering::Relaxed) {
                stuck = Instant::now() + STUCK;
            }
            if Instant::now() >= stuck.min(limit) {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let limit = Instant::now() + LIMIT;
        let Some(ended) = self.end(limit) else {
            return;
        };
        while ended.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
            if self.writing.load(Ordering::Relaxed) || Instant::now() >= limit {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what is written, and can be slow about it.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_that_waits_is_written_at_the_end() {
        let paper = Paper::default();
        let held = paper.0.lock().unwrap();
        let (mut queue, flush) = start(paper.clone()).unwrap();
        for _ in 0..LINES {
            queue.write_all(b"line\n").unwrap();
        }
        let dropped = thread::spawn(move || drop(flush));
        drop(held);
        dropped.join().unwrap();
        assert_eq!(paper.0.lock().unwrap().len(), LINES * 5);
    }

    #[test]
    fn nobody_waits_for_a_reader_that_takes_nothing() {
        for lines in [1, LINES * 2] {
            let paper = Paper::default();
            let held = paper.0.lock().unwrap();
            let (mut queue, flush) = start(paper.clone()).unwrap();
            for _ in 0..lines {
                queue.write_all(b"line\n").unwrap();
            }
            let begun = Instant::now();
            drop(flush);
            assert!(begun.elapsed() < LIMIT, "{lines}");
            drop(held);
        }
    }
}
