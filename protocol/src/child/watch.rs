//! The watch: one OS thread that outlives any mishap of the runtime.
//!
//! It reads the link, answers beats, and notices the master's death by
//!
//! 1. `SIGTERM` from the kernel (the parent-death signal): then `getppid()` is no longer the master,
//! 2. end-of-file on the link,
//! 3. silence, judged by [`MasterWatch`].
//!
//! On any of them it orders the drain, and when the order's time is over it ends the process. It never
//! waits for anything but its poll: no lock of the author's, no logger, no full pipe.

use std::fmt::Write as _;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, getppid};

use super::group;
use super::link::LinkReader;
use super::liveness::MasterWatch;
use super::shared::Shared;
use super::shutdown::{DrainCause, Draining};
use crate::children;
use crate::clock::monotonic;
use crate::exit::Exit;
use crate::message::{FromChild, ToChild, read_message};
use crate::sys;

/// What a drain may overrun before the process is ended: the master, if there is one, kills at this time.
pub(crate) const OVERRUN: Duration = Duration::from_secs(2);

/// How long a last line on standard error is waited for.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Stack of the watch thread, in bytes: it calls nothing deep, and every child has one.
const STACK: usize = 128 * 1024;

pub(super) fn start(
    reader: LinkReader,
    signals: PipeReader,
    shared: Arc<Shared>,
    master: u32,
) -> io::Result<()> {
    let timeout = shared.settings.master_timeout;
    let mut watch = Watch {
        reader: Some(reader),
        signals,
        shared,
        master: i32::try_from(master).ok().and_then(Pid::from_raw),
        silence: MasterWatch::new(timeout, monotonic()),
    };
    std::thread::Builder::new()
        .name("hatchery-watch".into())
        .stack_size(STACK)
        .spawn(move || watch.run())?;
    Ok(())
}

struct Watch {
    /// `None` once the master is lost: nothing is read from a dead link.
    reader: Option<LinkReader>,
    signals: PipeReader,
    shared: Arc<Shared>,
    master: Option<Pid>,
    silence: MasterWatch,
}

/// What a wait ended with.
#[derive(Default)]
struct Woken {
    link: bool,
    signal: bool,
}

impl Watch {
    fn run(&mut self) {
        loop {
            let woken = self.wait();
            if woken.signal {
                self.on_terminate();
            }
            if woken.link {
                self.on_link();
            }
            if self.reader.is_some() {
                self.shared.link.flush();
                if self.silence.is_lost(monotonic()) {
                    let silence = self.shared.settings.master_timeout;
                    self.lose_master(format!("it was silent for {silence:?}"));
                }
            }
            self.enforce_deadline();
        }
    }

    fn wait(&self) -> Woken {
        let mut interval = self.silence.interval();
        if let Some(order) = self.shared.shutdown.order() {
            let end = hard_end(order).saturating_sub(monotonic());
            // One millisecond more than asked: a wait that ends early would spin.
            interval = interval.min(end + Duration::from_millis(1));
        }
        let timeout = Timespec::try_from(interval).ok();
        let mut link = PollFlags::IN;
        link.set(PollFlags::OUT, self.shared.link.has_queued());
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.link.wake_fd(), PollFlags::IN),
        ];
        if let Some(reader) = &self.reader {
            fds.push(PollFd::from_borrowed_fd(reader.as_fd(), link));
        }
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Woken::default();
        }
        let ready = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
        if ready(1) {
            let _ = rustix::io::read(self.shared.link.wake_fd(), &mut [0; 8]);
        }
        Woken {
            signal: ready(0),
            link: ready(2),
        }
    }

    fn on_terminate(&mut self) {
        // The handler writes one byte a signal; how many came does not matter.
        let _ = self.signals.read(&mut [0; 64]);
        if getppid() == self.master {
            let budget = self.shared.settings.drain_timeout;
            self.shared
                .shutdown
                .give(DrainCause::Signal, monotonic() + budget);
        } else {
            self.lose_master("the kernel says so".to_owned());
        }
    }

    fn on_link(&mut self) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        match reader.fill() {
            Ok(0) => return self.lose_master("it closed the link".to_owned()),
            Ok(_) => self.silence.hear(monotonic()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return,
            Err(e) => return self.lose_master(format!("the link broke: {e}")),
        }
        loop {
            let message = match self.reader.as_mut().map(LinkReader::next_frame) {
                Some(Ok(Some(frame))) => read_message::<ToChild>(&frame),
                Some(Ok(None)) | None => return,
                Some(Err(error)) => Err(error.into()),
            };
            match message {
                Ok(message) => self.on_message(message),
                Err(error) => {
                    return self.lose_master(format!("it wrote what cannot be read: {error}"));
                }
            }
        }
    }

    fn on_message(&self, message: ToChild) {
        let shared = &self.shared;
        match message {
            ToChild::Beat => shared.link.send(&FromChild::Beat(shared.gauges.read())),
            ToChild::EggReady => shared.egg_ready.cancel(),
            ToChild::AgentUp { pid } => shared.members.update(|m| m.agent = Some(pid)),
            ToChild::AgentDown => shared.members.update(|m| m.agent = None),
            ToChild::WorkersChanged { workers } => shared.members.update(|m| m.workers = workers),
            ToChild::Drain { budget } => {
                shared
                    .shutdown
                    .give(DrainCause::Asked, monotonic() + budget);
            }
            // Read once, before this thread began; a second one changes nothing.
            ToChild::Boot(_) => {}
        }
    }

    fn lose_master(&mut self, how: String) {
        self.reader = None;
        // The first sign is the one that is told.
        let _ = self.shared.master_lost.set(how);
        let grace = self.shared.settings.orphan_grace;
        self.shared
            .shutdown
            .give(DrainCause::MasterLost, monotonic() + grace);
    }

    fn enforce_deadline(&self) {
        let Some(order) = self.shared.shutdown.order() else {
            return;
        };
        if monotonic() < hard_end(order) {
            return;
        }
        let mut words = match order.cause {
            DrainCause::MasterLost => "the grace after the master's death is over",
            DrainCause::Asked | DrainCause::Signal | DrainCause::HookFailed => {
                "the time to drain is over"
            }
        }
        .to_owned();
        if let Some(hook) = self.shared.running_hook() {
            let _ = write!(words, ", {hook} is still running");
        }
        say(&words);
        // Not an orderly end, whoever asked for it.
        let exit = leave(Some(order)).unwrap_or(Exit::HookFailed);
        sys::exit_now(exit.code());
    }
}

/// One line on standard error, by a thread that may wait for ever: the logger has locks that a blocked
/// thread may hold, and a pipe that nobody reads blocks whoever writes to it.
fn say(words: &str) {
    let line = format!("{words}, leaving at once (pid {})\n", std::process::id());
    let (done, written) = mpsc::channel();
    let saying = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            let _ = done.send(());
        });
    if saying.is_ok() {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

/// When the process ends, whatever its runtime does.
fn hard_end(order: Draining) -> Duration {
    match order.cause {
        DrainCause::MasterLost => order.deadline,
        DrainCause::Asked | DrainCause::Signal | DrainCause::HookFailed => order.deadline + OVERRUN,
    }
}

/// The last act of a child: it takes its own children along. Returns the code to leave with, if a lost
/// master is the reason.
///
/// A master kills what is left of a dead child's group, but it may be dying itself at this very moment, and
/// then nobody else would. That can even look like an order from a master in good health: the kernel sends
/// the parent-death signal when the *thread* that created us ends, and while another thread of a dying
/// master still lives, getppid() names the master and the link is open.
///
/// Grandchildren whose parents are gone are looked for when the master's death is known or likely only: to
/// look through all of `/proc` costs each of N children N looks.
pub(super) fn leave(order: Option<Draining>) -> Option<Exit> {
    let cause = order.map(|order| order.cause);
    let likely = matches!(cause, Some(DrainCause::MasterLost | DrainCause::Signal));
    if likely || !children().is_empty() {
        group::kill_own_group();
    }
    (cause == Some(DrainCause::MasterLost)).then_some(Exit::LostMaster)
}
