//! Which hook ran where, and who heard of whom: files of JSON lines that all processes append to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use hatchery::{BoxError, Job, Members};
use serde::Serialize;

use crate::settings;

/// A hook of the agent's or a worker's.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hook {
    Start,
    EggReady,
    StandDown,
    BeforeClose,
}

/// Where one process writes what happens to it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    role: &'static str,
    slot: Option<u32>,
    hooks: Option<File>,
}

impl Trace {
    /// Opens `PLAYGROUND_TRACE`, if it is set.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn open(role: &'static str, slot: Option<u32>) -> Result<Self, BoxError> {
        Ok(Self {
            role,
            slot,
            hooks: open("PLAYGROUND_TRACE")?,
        })
    }

    /// Writes that a hook was entered, before it does anything else.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn enter(&self, hook: Hook) -> Result<(), BoxError> {
        #[derive(Serialize)]
        struct Line {
            role: &'static str,
            slot: Option<u32>,
            pid: u32,
            hook: Hook,
        }
        let Some(file) = &self.hooks else {
            return Ok(());
        };
        let line = Line {
            role: self.role,
            slot: self.slot,
            pid: std::process::id(),
            hook,
        };
        append(file, &line)
    }

    /// Writes who is ready, now and at each change, to `PLAYGROUND_MEMBERS`, if it is set, as long as the
    /// process lives.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn follow(&self, mut members: Members) -> Result<(), BoxError> {
        #[derive(Serialize)]
        struct Line {
            role: &'static str,
            slot: Option<u32>,
            pid: u32,
            agent: Option<u32>,
            workers: Vec<hatchery::Member>,
        }
        let Some(file) = open("PLAYGROUND_MEMBERS")? else {
            return Ok(());
        };
        let (role, slot) = (self.role, self.slot);
        tokio::spawn(async move {
            loop {
                let now = members.now();
                let line = Line {
                    role,
                    slot,
                    pid: std::process::id(),
                    agent: now.agent,
                    workers: now.workers,
                };
                if let Err(error) = append(&file, &line) {
                    tracing::error!("PLAYGROUND_MEMBERS: {error}");
                }
                if !members.changed().await {
                    return;
                }
            }
        });
        Ok(())
    }
}

/// Where the agent that is in office signs, so that anybody can see that there are never two.
#[derive(Debug)]
pub(crate) struct Office {
    file: Option<File>,
    /// When this agent came to it.
    since_ms: i64,
}

impl Office {
    /// Opens `PLAYGROUND_OFFICE`, if it is set.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn open() -> Result<Self, BoxError> {
        let file = open("PLAYGROUND_OFFICE")?;
        let since_ms = now_ms();
        Ok(Self { file, since_ms })
    }

    /// Writes who is in office, and when.
    pub(crate) fn sign(&mut self) {
        #[derive(Serialize)]
        struct Line {
            pid: u32,
            since_ms: i64,
            ts_ms: i64,
        }
        let Some(file) = &self.file else {
            return;
        };
        let line = Line {
            pid: std::process::id(),
            since_ms: self.since_ms,
            ts_ms: now_ms(),
        };
        if let Err(error) = append(file, &line) {
            tracing::error!("PLAYGROUND_OFFICE: {error}");
        }
    }
}

/// On the host's monotonic clock.
fn now_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// A file of notes, if the environment names one.
#[derive(Debug)]
pub(crate) struct Notes {
    file: File,
    name: &'static str,
}

impl Notes {
    /// Opens the file that this variable names.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn open(name: &'static str) -> Result<Option<Self>, BoxError> {
        Ok(open(name)?.map(|file| Self { file, name }))
    }

    /// Adds a line.
    pub(crate) fn write(&self, note: &impl Serialize) {
        if let Err(error) = append(&self.file, note) {
            tracing::error!("{}: {error}", self.name);
        }
    }
}

/// Where jobs write that they were run, so that anybody can see what was run how often, and where.
#[derive(Debug)]
pub(crate) struct Ledger {
    slot: Option<u32>,
    file: Option<File>,
}

impl Ledger {
    /// Opens `PLAYGROUND_JOBS`, if it is set.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(crate) fn open(slot: Option<u32>) -> Result<Self, BoxError> {
        let file = open("PLAYGROUND_JOBS")?;
        Ok(Self { slot, file })
    }

    /// Writes that a run begins, or has ended.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write(&self, run: &Job, step: &'static str) -> Result<(), BoxError> {
        #[derive(Serialize)]
        struct Line<'a> {
            schedule: &'a str,
            number: u64,
            attempt: u32,
            step: &'static str,
            slot: Option<u32>,
            pid: u32,
            due_ms: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            token: Option<u64>,
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        let line = Line {
            schedule: run.schedule(),
            number: run.number(),
            attempt: run.attempt(),
            step,
            slot: self.slot,
            pid: std::process::id(),
            due_ms: run.due_ms(),
            token: run.fleet_token(),
        };
        append(file, &line)
    }
}

/// Appends a line to `PLAYGROUND_BOOK`, if it is set.
///
/// # Errors
///
/// The file cannot be opened or written.
pub(crate) fn book(entry: &str) -> Result<(), BoxError> {
    if let Some(mut book) = open("PLAYGROUND_BOOK")? {
        book.write_all(format!("{entry}\n").as_bytes())?;
    }
    Ok(())
}

fn open(name: &str) -> Result<Option<File>, BoxError> {
    let Some(path) = settings::path(name)? else {
        return Ok(None);
    };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let named = |error: io::Error| format!("{name}: {error}");
    Ok(Some(file.map_err(named)?))
}

/// One write, so that lines of several processes do not mix.
fn append(mut file: &File, line: &impl Serialize) -> Result<(), BoxError> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(())
}
