//! What a service manager is told: sd_notify(3).
//!
//! One datagram each, never waited for: a service manager that does not read must not slow the master down.
//! What it does not take is kept and tried again with the next beat, in order; of what it is told about the
//! state only the last counts. The socket is opened at the start and kept, so that a master without
//! descriptors does not count as dead.
//!
//! Nothing here decides: `ready` and the like are told when the lifecycle says so, and the watchdog is fed
//! when the shell says that the workers live.
//!
//! | file | idea |
//! |---|---|
//! | `status` | the cluster in one line |
//! | `watchdog` | when a sign of life is due |

mod status;
mod watchdog;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use sd_notify::NotifyState;

pub(crate) use status::status_line;
use watchdog::Watchdog;

/// Messages that may wait for a service manager that does not read.
const WAITING: usize = 16;

/// The way to a service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    waiting: VecDeque<String>,
    status: String,
    watchdog: Option<Watchdog>,
    /// Whether the last attempt failed: a failure is told once.
    failing: bool,
}

impl Notifier {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(Watchdog::new);
        Self::new(std::env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    fn new(socket: Option<OsString>, watchdog: Option<Watchdog>) -> Self {
        let to = socket.filter(|name| !name.is_empty()).and_then(|name| {
            open(&name)
                .inspect_err(|error| {
                    let name = name.display();
                    tracing::warn!(
                        "the service manager at {name} (NOTIFY_SOCKET) cannot be told: {error}"
                    );
                })
                .ok()
        });
        Self {
            // Without a way to it there is nobody to prove anything to.
            watchdog: watchdog.filter(|_| to.is_some()),
            to,
            waiting: VecDeque::new(),
            status: String::new(),
            failing: false,
        }
    }

    /// Whether anybody listens.
    pub(crate) const fn is_on(&self) -> bool {
        self.to.is_some()
    }

    /// Everything serves: after the start, and again after each reload, however that ended.
    pub(crate) fn ready(&mut self, status: String) {
        self.tell(&[NotifyState::Ready], Some(status));
        // The time runs from the moment in which systemd reads READY, not from the first sign of life.
        self.feed(monotonic(), true);
    }

    /// A reload begins. In one message with its time, or systemd takes it for an earlier one.
    pub(crate) fn reloading(&mut self, status: String) {
        let now = i128::try_from(monotonic().as_micros()).unwrap_or_default();
        let state = [NotifyState::Reloading, NotifyState::MonotonicUsec(now)];
        self.tell(&state, Some(status));
    }

    /// A stop begins, or is announced.
    pub(crate) fn stopping(&mut self, status: String) {
        self.tell(&[NotifyState::Stopping], Some(status));
    }

    /// Another process is the master from now on.
    pub(crate) fn main_pid(&mut self, pid: u32) {
        self.tell(&[NotifyState::MainPid(pid)], None);
    }

    /// Gives a process that is to be the master after this one what it needs to speak for the service. A
    /// watchdog that names this process would mean nothing to it.
    pub(crate) fn hand_over(command: &mut Command) {
        command.env_remove("WATCHDOG_PID");
    }

    /// The cluster in a line, if that is news.
    pub(crate) fn status(&mut self, status: String) {
        if self.status != status {
            self.tell(&[], Some(status));
        }
    }

    /// How often a sign of life is due, if one is asked for.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(Watchdog::interval)
    }

    /// How long ago a worker may have been seen to count as alive. `None`: nobody asks.
    pub(crate) fn watchdog_due(&self, now: Duration) -> Option<Duration> {
        let watchdog = self.watchdog.as_ref()?;
        watchdog.is_due(now).then(|| watchdog.freshness())
    }

    /// Gives the sign of life that is due, if the workers do live.
    pub(crate) fn feed(&mut self, now: Duration, alive: bool) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        if alive {
            watchdog.fed(now);
            self.tell(&[NotifyState::Watchdog], None);
        }
    }

    /// Tries again what the service manager did not take.
    pub(crate) fn flush(&mut self) {
        let Some((socket, address)) = &self.to else {
            return;
        };
        while let Some(message) = self.waiting.front() {
            match socket.send_to_addr(message.as_bytes(), address) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    return;
                }
                Err(error) => {
                    if !self.failing {
                        tracing::warn!("the service manager could not be told: {error}");
                    }
                    self.failing = true;
                }
                Ok(_) => self.failing = false,
            }
            self.waiting.pop_front();
        }
    }

    fn tell(&mut self, state: &[NotifyState<'_>], status: Option<String>) {
        if !self.is_on() {
            return;
        }
        let mut lines: Vec<String> = state.iter().map(ToString::to_string).collect();
        if let Some(status) = status {
            lines.push(NotifyState::Status(&status).to_string());
            self.status = status;
        }
        if self.waiting.len() == WAITING {
            // Signs of life and states are of no use when they are late; the newest is.
            self.waiting.pop_front();
        }
        self.waiting.push_back(lines.join("\n"));
        self.flush();
    }
}

/// An absolute path, or a name that is not in the file system and begins with `@`.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::other(
                "it is neither an absolute path nor begins with @",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> Vec<String> {
        manager.set_nonblocking(true).unwrap();
        let mut message = [0; 4096];
        std::iter::from_fn(|| {
            let length = manager.recv(&mut message).ok()?;
            Some(String::from_utf8_lossy(&message[..length]).into_owned())
        })
        .collect()
    }

    fn notifier(watchdog: Option<Duration>) -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.into()), watchdog.map(Watchdog::new));
        (folder, manager, notifier)
    }

    #[test]
    fn each_step_is_one_message() {
        let (_folder, manager, mut notifier) = notifier(None);
        notifier.ready("all is well".into());
        notifier.status("all is well".into());
        notifier.status("less so".into());
        notifier.reloading("reloading".into());
        notifier.main_pid(77);
        notifier.stopping("stopping".into());
        let mut said = received(&manager);
        let reloading = said.remove(2);
        assert_eq!(
            said,
            [
                "READY=1\nSTATUS=all is well",
                "STATUS=less so",
                "MAINPID=77",
                "STOPPING=1\nSTATUS=stopping",
            ]
        );
        let mut lines = reloading.lines();
        assert_eq!(lines.next(), Some("RELOADING=1"));
        let time = lines
            .next()
            .unwrap()
            .strip_prefix("MONOTONIC_USEC=")
            .unwrap();
        let told = Duration::from_micros(time.parse().unwrap());
        assert!(monotonic().saturating_sub(told) < Duration::from_secs(60));
    }

    #[test]
    fn the_first_sign_of_life_comes_with_readiness() {
        let (_folder, manager, mut notifier) = notifier(Some(Duration::from_secs(10)));
        notifier.ready("ready".into());
        assert_eq!(received(&manager), ["READY=1\nSTATUS=ready", "WATCHDOG=1"]);
        let now = monotonic();
        assert_eq!(notifier.watchdog_due(now), None);
        assert!(
            notifier
                .watchdog_due(now + Duration::from_secs(6))
                .is_some()
        );
        notifier.feed(now + Duration::from_secs(6), false);
        assert_eq!(
            received(&manager),
            [""; 0],
            "not when the workers do not live"
        );
        notifier.feed(now + Duration::from_secs(6), true);
        assert_eq!(received(&manager), ["WATCHDOG=1"]);
    }

    #[test]
    fn whoever_does_not_read_is_not_waited_for() {
        let (_folder, manager, mut notifier) = notifier(None);
        for n in 0..10_000 {
            notifier.status(format!("step {n}"));
        }
        assert_eq!(notifier.waiting.len(), WAITING);
        let first = received(&manager);
        assert_eq!(first[0], "STATUS=step 0");
        let rest: Vec<String> = std::iter::repeat_with(|| {
            notifier.flush();
            received(&manager)
        })
        .take_while(|some| !some.is_empty())
        .flatten()
        .collect();
        assert_eq!(rest.last().unwrap(), "STATUS=step 9999");
        drop(manager);
        notifier.stopping("now".into());
        assert!(notifier.failing && notifier.waiting.is_empty());
    }

    #[test]
    fn names_outside_of_the_file_system() {
        let name = format!("hatchery-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut notifier = Notifier::new(Some(format!("@{name}").into()), None);
        notifier.stopping("now".into());
        assert_eq!(received(&manager), ["STOPPING=1\nSTATUS=now"]);
    }

    #[test]
    fn nobody_to_tell_is_fine() {
        for name in [None, Some(""), Some("relative/path"), Some("vsock:2:1")] {
            let watchdog = Watchdog::new(Duration::from_secs(1));
            let mut notifier = Notifier::new(name.map(Into::into), Some(watchdog));
            assert!(!notifier.is_on());
            notifier.ready("ready".into());
            assert_eq!(notifier.watchdog_interval(), None);
        }
    }

    #[test]
    fn a_successor_is_not_told_of_this_process() {
        let mut command = Command::new("true");
        Notifier::hand_over(&mut command);
        let taken: Vec<_> = command.get_envs().collect();
        assert_eq!(taken, [(OsStr::new("WATCHDOG_PID"), None)]);
    }
}
