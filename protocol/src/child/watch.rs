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
//!
//! # A table of descriptors of its own
//!
//! As soon as a process has two threads, the kernel counts a reference to the open file in every system
//! call, with two locked instructions, because the other thread could close it meanwhile (`fdget` in
//! `fs/file.c`). On the path of a small request that is 5 % of all the work. A worker of one runtime
//! thread is spared it: this thread stops sharing the table before the author's code runs. Hence:
//!
//! - it has what was open then and nothing newer. It must run no code that expects more: it logs nothing,
//!   handles no signal and wakes no task (see [`super::news`]);
//! - what is to be closed has to be closed here, too: the listening sockets at once, and the way through
//!   the master for output when the process becomes ready.
//!
//! Where a filter forbids it or the kernel is too old the table is shared, and everything works the same.
//!
//! # In the master's own process
//!
//! A child that is a thread of its master's process has this thread for beats and orders. The rest is left out:
//! there is no master to lose, ending the process is the master's affair, and a table of its own would keep the master's
//! sockets open. It ends with its link.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, getppid};

use super::link::LinkReader;
use super::liveness::MasterWatch;
use super::shared::Shared;
use super::shutdown::{DrainCause, Draining};
use super::{Child, group};
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

/// Starts the thread, and waits until it has its own descriptors.
pub(super) fn start(
    reader: LinkReader,
    signals: Option<PipeReader>,
    child: &Child,
) -> io::Result<()> {
    let shared = Arc::clone(&child.shared);
    let timeout = shared.settings.master_timeout;
    let mut watch = Watch {
        reader: Some(reader),
        signals,
        shared,
        master: i32::try_from(child.master()).ok().and_then(Pid::from_raw),
        silence: MasterWatch::new(timeout, monotonic()),
        output: None,
        separate: false,
    };
    let of_child: Vec<RawFd> = child
        .output
        .iter()
        .flat_map(|(out, err)| [out, err])
        .chain(child.sockets.iter())
        .chain(&child.post)
        .map(AsRawFd::as_raw_fd)
        .collect();
    let (done, separated) = mpsc::channel();
    std::thread::Builder::new()
        .name("hatchery-watch".into())
        .stack_size(STACK)
        .spawn(move || {
            // A handler of the author's may write to a descriptor that does not exist here.
            let _ = SigSet::all().thread_block();
            if watch.is_of_process() {
                watch.separate(&of_child);
            }
            let _ = done.send(());
            watch.run();
        })?;
    separated.recv().map_err(io::Error::other)
}

struct Watch {
    /// `None` once the master is lost: nothing is read from a dead link.
    reader: Option<LinkReader>,
    /// `None`: the process is the master's.
    signals: Option<PipeReader>,
    shared: Arc<Shared>,
    master: Option<Pid>,
    silence: MasterWatch,
    /// Where the master writes its output and errors; until the process is ready, and if they are ours.
    output: Option<(OwnedFd, OwnedFd)>,
    /// Whether this thread has descriptors of its own.
    separate: bool,
}

/// What a wait ended with.
#[derive(Default)]
struct Woken {
    link: bool,
    signal: bool,
}

impl Watch {
    /// Whether the process is this child's own.
    const fn is_of_process(&self) -> bool {
        self.signals.is_some()
    }

    /// Stops sharing descriptors with the threads of the author. `of_child` are those that came with the
    /// boot message, the two for output first.
    fn separate(&mut self, of_child: &[RawFd]) {
        if let Ok(own) = sys::own_descriptors(of_child) {
            self.separate = true;
            let mut own = own.into_iter();
            self.output = own.next().zip(own.next());
        }
    }

    fn run(&mut self) {
        loop {
            let woken = self.wait();
            if self.shared.output.is_restored() {
                self.restore_output();
            }
            if woken.signal {
                self.on_terminate();
            }
            if woken.link {
                self.on_link();
            }
            if self.reader.is_none() && !self.is_of_process() {
                return;
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
        if self.is_of_process()
            && let Some(order) = self.shared.shutdown.order()
        {
            let end = hard_end(order).saturating_sub(monotonic());
            // One millisecond more than asked: a wait that ends early would spin.
            interval = interval.min(end + Duration::from_millis(1));
        }
        let timeout = Timespec::try_from(interval).ok();
        let mut link = PollFlags::IN;
        link.set(PollFlags::OUT, self.shared.link.has_queued());
        let wake = self.shared.link.wake_fd();
        let mut fds = vec![PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        let signals = self.signals.as_ref().map(|signals| {
            fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
            fds.len() - 1
        });
        let reader = self.reader.as_ref().map(|reader| {
            fds.push(PollFd::from_borrowed_fd(reader.as_fd(), link));
            fds.len() - 1
        });
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Woken::default();
        }
        let ready = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
        if ready(0) {
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        Woken {
            signal: signals.is_some_and(ready),
            link: reader.is_some_and(ready),
        }
    }

    /// Lets go of the pipes to the master, as the author's threads have.
    fn restore_output(&mut self) {
        if let Some((stdout, stderr)) = self.output.take() {
            let _ = rustix::stdio::dup2_stdout(stdout);
            let _ = rustix::stdio::dup2_stderr(stderr);
        }
    }

    /// Gives the order to leave: it holds from now on, and the runtime hears of it.
    fn order(&self, cause: DrainCause, budget: Duration) {
        self.shared.shutdown.set(cause, monotonic() + budget);
        self.shared.news.ring();
    }

    fn on_terminate(&mut self) {
        // The handler writes one byte a signal; how many came does not matter.
        if let Some(signals) = &mut self.signals {
            let _ = signals.read(&mut [0; 64]);
        }
        if getppid() == self.master {
            self.order(DrainCause::Signal, self.shared.settings.drain_timeout);
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
            let Some(reader) = &mut self.reader else {
                return;
            };
            let message = match reader.next_frame() {
                Ok(Some(frame)) => read_message::<ToChild>(&frame)
                    .map(|message| (message, reader.take_fds(frame.fds).unwrap_or_default())),
                Ok(None) => return,
                Err(error) => Err(error.into()),
            };
            match message {
                Ok((ToChild::Output, fds)) => self.redirect(fds),
                Ok((message, _)) => self.on_message(message),
                Err(error) => {
                    return self.lose_master(format!("it wrote what cannot be read: {error}"));
                }
            }
        }
    }

    /// The log file was opened again. This thread has its last words to write there, and the other threads,
    /// which cannot see these descriptors, get them from here.
    fn redirect(&mut self, mut fds: VecDeque<OwnedFd>) {
        let (Some(stdout), Some(stderr)) = (fds.pop_front(), fds.pop_front()) else {
            return;
        };
        self.shared.output.pass_on(&stdout, &stderr);
        if self.separate {
            self.output = Some((stdout, stderr));
            if self.shared.output.is_restored() {
                self.restore_output();
            }
        }
    }

    fn on_message(&self, message: ToChild) {
        let shared = &self.shared;
        match message {
            ToChild::Beat => shared.link.send(&FromChild::Beat(shared.gauges.read())),
            ToChild::EggReady => shared.news.egg_ready(),
            ToChild::AgentUp { pid } => shared.news.members(|m| m.agent = Some(pid)),
            ToChild::AgentDown => shared.news.members(|m| m.agent = None),
            ToChild::WorkersChanged { up, down } => {
                shared.news.members(|m| m.change_workers(&up, &down));
            }
            ToChild::Stopping => shared.news.stopping(),
            ToChild::Diagnose => {
                let diagnosis = shared.gauges.diagnose(shared.running_hook());
                let diagnosis = FromChild::Diagnosis(Box::new(diagnosis));
                shared.link.send(&diagnosis);
            }
            ToChild::StandDown => shared.news.stand_down(),
            ToChild::Schedule(order) => shared.news.schedule(*order),
            ToChild::Configure { section } => shared.news.configure(*section),
            ToChild::Drain { budget } => self.order(DrainCause::Asked, budget),
            // The first was read before this thread began, the other comes with descriptors: see `redirect`.
            ToChild::Boot(_) | ToChild::Output => {}
        }
    }

    fn lose_master(&mut self, how: String) {
        self.reader = None;
        if !self.is_of_process() {
            return;
        }
        // The first sign is the one that is told.
        let _ = self.shared.master_lost.set(how);
        self.order(DrainCause::MasterLost, self.shared.settings.orphan_grace);
    }

    fn enforce_deadline(&self) {
        let Some(order) = self.shared.shutdown.order() else {
            return;
        };
        // Where the process is the master's, the master says when it is over.
        if !self.is_of_process() || monotonic() < hard_end(order) {
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
