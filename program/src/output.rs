//! What the program prints, on its way to where this worker prints.
//!
//! Through the keeper and not straight there, because where that is changes: when the worker becomes ready, when
//! a log file is opened again, and when nobody is left who reads. The program never notices: it writes into the same pipe
//! to its end, and a log that is gone does not end it.

use std::io::{self, PipeReader, Read as _, Write};
use std::time::Duration;

use hatchery_protocol::beside::beside;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How much is read at once, and how long a line may be to be written in one piece.
const PIECE: usize = 64 * 1024;

/// How long the last lines are waited for when the program is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Both streams, on their way.
#[derive(Debug)]
pub(crate) struct Output(Option<[oneshot::Receiver<()>; 2]>);

impl Output {
    /// Begins to pass on what comes.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(crate) fn pass_on(stdout: PipeReader, stderr: PipeReader) -> io::Result<Self> {
        let (done, out) = oneshot::channel();
        beside(move || {
            lines(stdout, io::stdout());
            let _ = done.send(());
        })?;
        let (done, err) = oneshot::channel();
        beside(move || {
            lines(stderr, io::stderr());
            let _ = done.send(());
        })?;
        Ok(Self(Some([out, err])))
    }

    /// Waits, for a moment, until everything is passed on that there is.
    pub(crate) async fn finish(&mut self) {
        if let Some([out, err]) = self.0.take() {
            let _ = timeout(LAST_WORDS, async { tokio::join!(out, err) }).await;
        }
    }
}

/// Passes on whole lines: those of several workers are not to be mixed.
fn lines(mut from: PipeReader, mut to: impl Write) {
    let mut piece = vec![0; PIECE];
    let mut pending = Vec::new();
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        pending.extend_from_slice(piece.get(..count).unwrap_or_default());
        let whole = match pending.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if pending.len() >= PIECE => pending.len(),
            None => continue,
        };
        let rest = pending.split_off(whole);
        write(&mut to, &pending);
        pending = rest;
    }
    if !pending.is_empty() {
        pending.push(b'\n');
        write(&mut to, &pending);
    }
}

/// What cannot be written is lost; the program goes on.
fn write(to: &mut impl Write, lines: &[u8]) {
    let _ = to.write_all(lines).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each write as one.
    #[derive(Default)]
    struct Pieces(Vec<String>);

    impl Write for &mut Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_stay_whole_and_the_last_one_gets_an_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"one\ntwo\nthr").unwrap();
        let writing = std::thread::spawn(move || writer.write_all(b"ee\nfour").unwrap());
        let mut pieces = Pieces::default();
        lines(reader, &mut pieces);
        writing.join().unwrap();
        assert_eq!(pieces.0.concat(), "one\ntwo\nthree\nfour\n");
        assert!(pieces.0.iter().all(|piece| piece.ends_with('\n')));
    }
}
