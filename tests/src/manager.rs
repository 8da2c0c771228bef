//! A service manager, as far as sd_notify(3) goes.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::wait::PATIENCE;

/// Who listens at `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
}

/// One message, and when it came.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its lines.
    pub lines: Vec<String>,
    /// When it was read.
    pub at: Instant,
}

impl Told {
    /// Whether this is one of its lines.
    pub fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|known| known == line)
    }

    /// What follows this in one of its lines.
    pub fn after(&self, start: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(start))
    }
}

impl Manager {
    /// One with a path in the cluster's directory, and the plan that names it.
    #[track_caller]
    pub fn of(plan: Plan) -> (Self, Plan) {
        let path = plan.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (Self { socket }, plan.env("NOTIFY_SOCKET", path))
    }

    /// One with a name that is not in the file system.
    #[track_caller]
    pub fn nameless(plan: Plan) -> (Self, Plan) {
        let name = format!("hatchery-tests{}", plan.path("notify").display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        (
            Self { socket },
            plan.env("NOTIFY_SOCKET", format!("@{name}")),
        )
    }

    /// The next message; `None` if none comes in this time.
    pub fn next_within(&self, time: Duration) -> Option<Told> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        Some(Told {
            lines: text.lines().map(str::to_owned).collect(),
            at: Instant::now(),
        })
    }

    /// Reads on until a message satisfies this.
    #[track_caller]
    pub fn expect(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Told {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Some(told) = self.next_within(PATIENCE) {
            if wanted(&told) {
                return told;
            }
            seen.push(told.lines);
            assert!(Instant::now() < deadline, "no {what} among {seen:?}");
        }
        panic!("no {what} among {seen:?}");
    }

    /// Reads on until a message has this line.
    #[track_caller]
    pub fn expect_line(&self, line: &str) -> Told {
        self.expect(line, |told| told.has(line))
    }

    /// What comes until nothing has come for this time.
    pub fn rest(&self, quiet: Duration) -> Vec<Told> {
        std::iter::from_fn(|| self.next_within(quiet)).collect()
    }
}
