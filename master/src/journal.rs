//! Making the lifecycle known: to the log, to `--events FILE` and to whoever follows.
//!
//! The file is written by a thread of its own: a slow disk must not slow the master down, and a full
//! one must not stop it. A follower that does not read loses its place, not the others' time.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc as blocking;
use std::time::Duration;

use hatchery_protocol::clock::{millis, monotonic};
use hatchery_protocol::event::{EventName, EventRecord};
use hatchery_protocol::id::{Role, Seat};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::supervisor::Note;

/// Records that may wait for the disk.
const FILE_QUEUE: usize = 4096;
/// Records that may wait for a follower.
const FOLLOWER_QUEUE: usize = 8192;
/// How long the master's end waits for the disk.
const FLUSH: Duration = Duration::from_secs(1);

/// Somebody who follows, seen from here.
#[derive(Debug)]
struct Follower {
    events: mpsc::Sender<EventRecord>,
    lost: Arc<AtomicBool>,
}

impl Follower {
    /// Whether it is still there and keeps up.
    fn take(&self, record: &EventRecord) -> bool {
        let taken = self.events.try_send(record.clone());
        if let Err(TrySendError::Full(_)) = taken {
            self.lost.store(true, Relaxed);
        }
        taken.is_ok()
    }
}

/// Somebody who follows, seen from there.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) events: mpsc::Receiver<EventRecord>,
    lost: Arc<AtomicBool>,
}

impl Following {
    /// Whether the stream ended because it was not read fast enough.
    pub(crate) fn lost_track(&self) -> bool {
        self.lost.load(Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    file: Option<Writer>,
    followers: Vec<Follower>,
}

impl Journal {
    /// Opens the file, if there is to be one. It is appended to.
    pub(crate) fn open(events: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            file: events.map(Writer::open).transpose()?,
            followers: Vec::new(),
        })
    }

    /// `calm`: a death now is part of the plan, as in a stop.
    pub(crate) fn record(&mut self, note: Note, calm: bool) {
        let master = note.seat.is_none().then(std::process::id);
        let record = EventRecord {
            ts_ms: millis(monotonic()),
            event: note.event,
            role: note.seat.map_or(Role::Master, Seat::role),
            slot: note.seat.and_then(Seat::slot),
            pid: note.pid.or(master),
            generation: note.generation,
            reason: note.reason,
            exit: note.exit,
        };
        log(&record, note.seat, calm);
        if let Some(file) = &mut self.file {
            file.write(&record);
        }
        self.followers.retain(|follower| follower.take(&record));
    }

    /// Every record from now on. The stream ends when its reader is too slow, or with the master.
    pub(crate) fn follow(&mut self) -> Following {
        let (events, queue) = mpsc::channel(FOLLOWER_QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        self.followers.push(Follower {
            events,
            lost: Arc::clone(&lost),
        });
        Following {
            events: queue,
            lost,
        }
    }

    /// Opens the file again, by its name: somebody may have moved it away.
    pub(crate) fn reopen(&mut self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    /// Ends all streams and waits, for a moment, until the file has everything.
    pub(crate) fn close(self) {
        drop(self.followers);
        if let Some(file) = self.file {
            file.close();
        }
    }
}

fn log(record: &EventRecord, seat: Option<Seat>, calm: bool) {
    let mut text = record.event.as_str().to_owned();
    if let (Some(seat), Some(pid)) = (seat, record.pid) {
        let _ = write!(text, ": {seat} (pid {pid})");
    }
    if let Some(reason) = &record.reason {
        let _ = write!(text, ": {reason}");
    }
    let death = matches!(
        record.event,
        EventName::WorkerExited | EventName::AgentExited
    );
    if death && !calm {
        tracing::warn!(target: "hatchery", "{text}");
    } else {
        tracing::info!(target: "hatchery", "{text}");
    }
}

/// What that thread is to do.
#[derive(Debug)]
enum Task {
    Write(Vec<u8>),
    Reopen,
}

/// The thread that owns the file.
#[derive(Debug)]
struct Writer {
    lines: blocking::SyncSender<Task>,
    done: blocking::Receiver<()>,
    lost: u64,
}

impl Writer {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let (lines, queue) = blocking::sync_channel(FILE_QUEUE);
        let (finished, done) = blocking::channel();
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("hatchery-events".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                write_all(&path, file, &queue);
                // Nobody listens if the master did not want to wait so long.
                let _ = finished.send(());
            })?;
        Ok(Self {
            lines,
            done,
            lost: 0,
        })
    }

    fn write(&mut self, record: &EventRecord) {
        let Ok(mut line) = serde_json::to_vec(record) else {
            return;
        };
        line.push(b'\n');
        match self.lines.try_send(Task::Write(line)) {
            Ok(()) => self.lost = 0,
            Err(_) if self.lost == 0 => {
                self.lost = 1;
                tracing::warn!("the events file cannot keep up; events are left out");
            }
            Err(_) => self.lost += 1,
        }
    }

    /// In its turn: what was recorded before goes to the old file.
    fn reopen(&self) {
        if self.lines.try_send(Task::Reopen).is_err() {
            tracing::error!("the events file cannot keep up; it is not opened again");
        }
    }

    fn close(self) {
        drop(self.lines);
        let _ = self.done.recv_timeout(FLUSH);
    }
}

/// Non-blocking matters for a pipe only: without a reader, opening it would wait for one.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

fn write_all(path: &Path, mut file: File, queue: &blocking::Receiver<Task>) {
    let mut failing = false;
    for task in queue {
        let line = match task {
            Task::Write(line) => line,
            Task::Reopen => {
                match open(path) {
                    Ok(new) => file = new,
                    Err(error) => tracing::error!(
                        "the events file {} cannot be opened again: {error}; the old one goes on",
                        path.display()
                    ),
                }
                continue;
            }
        };
        match file.write_all(&line) {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("events are written to {} again", path.display());
            }
            Ok(()) => {}
            Err(error) => {
                if !failing {
                    tracing::error!(
                        "events cannot be written to {}: {error}; they are left out until they can",
                        path.display()
                    );
                }
                failing = true;
                // A line may have been written in part: let the next one begin on its own.
                let _ = file.write_all(b"\n");
            }
        }
    }
}
