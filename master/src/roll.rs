//! Who was started, written down for the next master.
//!
//! Children notice the death of their master by themselves, and leave. One cannot: who is suspended runs nothing. The
//! kernel wakes it up where whoever adopts it belongs to another session (setpgid(2)), and nobody does elsewhere. So
//! each master writes its processes down in the runtime directory, and the next one that is started there wakes those
//! that are left, and kills who is still there when the grace is over.
//!
//! A process is known by its pid and the time of its birth, which together are nobody else's until the host starts
//! again, and it is signalled by a pidfd. What cannot be written down is left out: this is a net below other nets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::time::timeout_at;

use crate::proc::birth;
use crate::sys;

/// What the name of such a file begins with; the pid of the master follows.
const NAME: &str = "children-";
/// How many processes are written down before those are left out that are gone.
const ROOM: usize = 64;

/// The processes of this master. The file goes with this value, unless somebody of them lives.
#[derive(Debug)]
pub(crate) struct Roll {
    path: PathBuf,
    /// None where there can be no file.
    file: Option<File>,
    grace: Duration,
    lines: usize,
    room: usize,
}

/// A process of a master that is no more.
#[derive(Debug)]
pub(crate) struct Remnant {
    line: Line,
    pidfd: OwnedFd,
    suspended: bool,
}

/// What is written down about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    pid: Pid,
    birth: u64,
    grace: Duration,
}

impl Roll {
    /// A roll for a master that begins anew in this runtime directory, whose lock it holds: with it, who is left of
    /// those before it.
    pub(crate) fn begin(dir: &Path, grace: Duration) -> (Self, Vec<Remnant>) {
        let older = files(dir);
        let texts = older.iter().map(fs::read_to_string);
        let mut remnants: Vec<Remnant> = texts.flatten().flat_map(|t| living(&t)).collect();
        remnants.sort_by_key(|remnant| number(remnant.line.pid));
        remnants.dedup_by_key(|remnant| number(remnant.line.pid));
        let mut roll = Self::join(dir, grace);
        roll.rewrite(&remnants);
        for path in older.into_iter().filter(|path| *path != roll.path) {
            let _ = fs::remove_file(path);
        }
        (roll, remnants)
    }

    /// A roll for a master that takes over from one that is still there.
    pub(crate) fn join(dir: &Path, grace: Duration) -> Self {
        let path = dir.join(format!("{NAME}{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&path).inspect_err(|error| {
            tracing::warn!("{} cannot be written: {error}", path.display());
        });
        let mut roll = Self {
            path,
            file: file.ok(),
            grace,
            lines: 0,
            room: ROOM,
        };
        roll.rewrite(&[]);
        roll
    }

    /// Writes down a process that was just created.
    pub(crate) fn enter(&mut self, pid: Pid) {
        if self.lines >= self.room {
            self.forget_the_dead();
        }
        let Some((birth, _)) = birth(number(pid)) else {
            return;
        };
        let line = Line {
            pid,
            birth,
            grace: self.grace,
        };
        self.lines += 1;
        self.write(&line.text());
    }

    fn forget_the_dead(&mut self) {
        let mut text = String::new();
        if let Some(file) = &mut self.file {
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
        }
        self.rewrite(&living(&text));
    }

    fn rewrite(&mut self, processes: &[Remnant]) {
        if let Some(file) = &self.file {
            let _ = file.set_len(0);
        }
        let lines = processes.iter().map(|process| process.line.text());
        self.write(&format!("{}\n{}", boot_id(), lines.collect::<String>()));
        self.lines = processes.len();
        self.room = ROOM.max(2 * self.lines);
    }

    /// In one piece: whoever reads it next may do so at any moment.
    fn write(&mut self, text: &str) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            tracing::warn!("{} cannot be written: {error}", self.path.display());
            self.file = None;
        }
    }
}

impl Drop for Roll {
    fn drop(&mut self) {
        self.forget_the_dead();
        if self.lines == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let pid: i32 = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
        Some(Self {
            pid: Pid::from_raw(pid)?,
            birth: words.next()?.parse().ok()?,
            grace: Duration::from_millis(words.next()?.parse().ok()?),
        })
    }

    fn text(&self) -> String {
        let (pid, birth) = (number(self.pid), self.birth);
        format!("{pid} {birth} {}\n", self.grace.as_millis())
    }

    /// The process, if it is still there.
    fn find(self) -> Option<Remnant> {
        // In this order: whoever has the number afterwards has it as long as the descriptor names a living process.
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty()).ok()?;
        let (birth, state) = birth(number(self.pid))?;
        let lives = birth == self.birth && !matches!(state, 'Z' | 'X');
        lives.then_some(Remnant {
            line: self,
            pidfd,
            suspended: state == 'T',
        })
    }
}

/// Those of a file who are still there.
fn living(text: &str) -> Vec<Remnant> {
    let mut lines = text.lines();
    // Births are counted from the start of the host.
    if lines.next() != Some(&boot_id()) {
        return Vec::new();
    }
    lines
        .filter_map(Line::read)
        .filter_map(Line::find)
        .collect()
}

/// Whoever is suspended goes on, notices that its master is gone, and leaves. That is waited for, as long as its grace
/// at the most: it may have the sockets that a new master needs.
pub(crate) fn wake(remnants: &[Remnant]) {
    let began = Instant::now();
    for remnant in remnants.iter().filter(|remnant| remnant.suspended) {
        tracing::warn!(
            "process {} of a master before this one is suspended; it is told to go on and leave",
            number(remnant.line.pid)
        );
        let _ = pidfd_send_signal(&remnant.pidfd, Signal::CONT);
        let mut fds = [PollFd::new(&remnant.pidfd, PollFlags::IN)];
        let patience = remnant.line.grace.saturating_sub(began.elapsed());
        let _ = poll(&mut fds, Timespec::try_from(patience).ok().as_ref());
    }
}

/// Kills those who are still there so long after their grace is over, each with what it has started.
pub(crate) async fn see_off(mut remnants: Vec<Remnant>, after: Duration) {
    let began = tokio::time::Instant::now();
    remnants.sort_by_key(|remnant| remnant.line.grace);
    for Remnant { line, pidfd, .. } in remnants {
        let Ok(pidfd) = sys::readable(pidfd) else {
            continue;
        };
        let grace = began + line.grace + after;
        if timeout_at(grace, pidfd.readable()).await.is_ok() {
            continue;
        }
        let pid = number(line.pid);
        tracing::warn!("process {pid} of a master before this one did not leave and is killed");
        // As long as it is there, its number is that of its group.
        if pidfd_send_signal(pidfd.as_fd(), Signal::KILL).is_ok() {
            let _ = kill_process_group(line.pid, Signal::KILL);
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name();
        let regular = entry.file_type().is_ok_and(|kind| kind.is_file());
        regular && name.to_str().is_some_and(|name| name.starts_with(NAME))
    });
    ours.map(|entry| entry.path()).collect()
}

fn boot_id() -> String {
    let id: io::Result<String> = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

const fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            Self(Command::new("sleep").arg("1000").spawn().unwrap())
        }

        fn pid(&self) -> Pid {
            Pid::from_raw(self.0.id().try_into().unwrap()).unwrap()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn found(remnants: &[Remnant]) -> Vec<Pid> {
        remnants.iter().map(|remnant| remnant.line.pid).collect()
    }

    /// What a master leaves that is killed: nothing is dropped.
    fn leave(dir: &Path, text: &str) {
        fs::write(dir.join("children-1"), text).unwrap();
    }

    #[test]
    fn who_is_left_is_found_by_the_next_one_and_the_one_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (left, gone) = (Sleeper::new(), Sleeper::new());
        let mut roll = Roll::join(dir.path(), GRACE);
        roll.enter(left.pid());
        roll.enter(gone.pid());
        leave(dir.path(), &fs::read_to_string(&roll.path).unwrap());
        drop(gone);
        drop(roll);
        for _ in 0..2 {
            let (roll, remnants) = Roll::begin(dir.path(), GRACE);
            assert_eq!(found(&remnants), [left.pid()]);
            assert_eq!(remnants[0].line.grace, GRACE);
            drop(roll);
        }
        assert_eq!(files(dir.path()).len(), 1);
        drop(left);
        assert!(Roll::begin(dir.path(), GRACE).1.is_empty());
        assert!(files(dir.path()).is_empty(), "nothing is left");
    }

    #[test]
    fn whoever_has_the_number_of_a_dead_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let stranger = Sleeper::new();
        let pid = number(stranger.pid());
        let (birth, _) = birth(pid).unwrap();
        let boot = boot_id();
        for text in [
            format!("{boot}\n{pid} {} 5000\n", birth - 1),
            format!("another boot\n{pid} {birth} 5000\n"),
            format!(
                "{boot}\n-{pid} {birth} 5000\n0 {birth} 5000\n{pid} {birth}\n{pid}\n\nnonsense"
            ),
        ] {
            leave(dir.path(), &text);
            assert!(Roll::begin(dir.path(), GRACE).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn the_dead_do_not_fill_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut roll = Roll::join(dir.path(), GRACE);
        let lives = Sleeper::new();
        roll.enter(lives.pid());
        for _ in 0..10 * ROOM {
            roll.write("1 1 5000\n");
            roll.lines += 1;
            if roll.lines >= roll.room {
                roll.forget_the_dead();
            }
        }
        let text = fs::read_to_string(&roll.path).unwrap();
        assert!(text.lines().count() <= ROOM + 1, "{text}");
        assert_eq!(found(&living(&text)), [lives.pid()]);
    }

    #[test]
    fn who_is_suspended_goes_on_and_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let sleeper = Sleeper::new();
        let mut roll = Roll::join(dir.path(), GRACE);
        roll.enter(sleeper.pid());
        let signal = |signal| rustix::process::kill_process(sleeper.pid(), signal).unwrap();
        signal(Signal::STOP);
        let text = fs::read_to_string(&roll.path).unwrap();
        let suspended = || living(&text).iter().any(|remnant| remnant.suspended);
        while !suspended() {
            std::thread::yield_now();
        }
        // Of those that are pending together, it would come before the other one.
        signal(Signal::TERM);
        wake(&living(&text));
        assert!(living(&text).is_empty());
    }

    #[tokio::test]
    async fn who_does_not_leave_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut sleeper = Sleeper::new();
        let mut roll = Roll::join(dir.path(), Duration::from_millis(50));
        roll.enter(sleeper.pid());
        let remnants = living(&fs::read_to_string(&roll.path).unwrap());
        see_off(remnants, Duration::ZERO).await;
        assert!(!sleeper.0.wait().unwrap().success());
    }
}
