//! Proof that nobody is left.
//!
//! A master gets the writing end of a pipe as descriptor 9, which it is told to pass on (`--pass-fds`) and
//! all its descendants pass on without knowing. The pipe ends when the last of them is gone, whoever reparented, renamed or detached
//! itself in between. The pipe's number also tells who is left: `/proc/PID/fd` shows it.

use std::fs;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::fcntl_dupfd_cloexec;

use crate::process::{self, Process};
use crate::wait;

/// Both ends have at least this number in the test's own process, and the writing end a lower one in whoever is
/// watched. Tests run side by side: what another one starts has a copy of every descriptor of this process until
/// it becomes another program, and is not a survivor of this test for that.
const SET_ASIDE: RawFd = 512;

/// The reading end: who still holds the writing end, if anybody.
#[derive(Debug)]
pub struct Survivors {
    reader: PipeReader,
    /// What `/proc/PID/fd` shows for it.
    name: PathBuf,
}

impl Survivors {
    /// A pipe; the writer goes to the one process whose descendants are watched.
    pub fn pipe() -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let reader = fcntl_dupfd_cloexec(reader, SET_ASIDE)?.into();
        let writer = fcntl_dupfd_cloexec(writer, SET_ASIDE)?.into();
        let name = format!("pipe:[{}]", rustix::fs::fstat(&reader)?.st_ino).into();
        Ok((Self { reader, name }, writer))
    }

    /// Waits for the last one to be gone. Woken by the kernel, so it can be used to measure.
    pub fn gone_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(
            self.reader.as_fd(),
            PollFlags::empty(),
        )];
        let timeout = Timespec::try_from(time).ok();
        matches!(poll(&mut fds, timeout.as_ref()), Ok(1))
    }

    /// Who is left, found by the open pipe.
    pub fn list(&self) -> Vec<Process> {
        process::all()
            .into_iter()
            .filter(|process| process.pid != std::process::id() && self.holds(process.pid))
            .collect()
    }

    /// Kills whoever is left, and those they start meanwhile.
    pub fn kill_all(&self) {
        let all_gone = wait::until(wait::PATIENCE, || {
            for process in self.list() {
                process::kill(process.pid, rustix::process::Signal::KILL);
            }
            self.gone_within(Duration::from_millis(20)).then_some(())
        });
        if all_gone.is_none() {
            eprintln!("these could not be killed: {:?}", self.list());
        }
    }

    fn holds(&self, pid: u32) -> bool {
        let folder = format!("/proc/{pid}/fd");
        let Ok(entries) = fs::read_dir(Path::new(&folder)) else {
            return false;
        };
        let is_low = |entry: &fs::DirEntry| {
            let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
            number.is_some_and(|number: RawFd| number < SET_ASIDE)
        };
        // Not by the number of the pipe alone: files of other kinds have numbers, too.
        entries
            .flatten()
            .filter(is_low)
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|name| name == self.name))
    }
}
