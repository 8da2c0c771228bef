//! `hatchery dev` at work, seen from its terminal and by the clients of the application.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::cluster::read;
use crate::event::{Event, EventLog, Step, count, names};
use crate::plan::launch::{SHELL, clean_environment};
use crate::process;
use crate::survivors::Survivors;
use crate::wait;

/// A developer's terminal with `hatchery dev` in it, in the folder of a package. What is left of it is killed when this goes out of scope.
#[derive(Debug)]
pub struct Developing {
    dev: RefCell<Child>,
    place: TempDir,
    survivors: Survivors,
    events: RefCell<EventLog>,
    patience: Duration,
}

impl Developing {
    /// Runs `hatchery dev ARGUMENTS` in that folder, for an application of two workers on any port. Whatever is waited for may
    /// take as long as `patience`.
    #[track_caller]
    pub fn begin<'a>(
        hatchery: &str,
        folder: &Path,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (&'a str, std::ffi::OsString)>,
        patience: Duration,
    ) -> Self {
        let place = tempfile::Builder::new()
            .prefix("hatchery-")
            .tempdir()
            .unwrap();
        let (survivors, writer) = Survivors::pipe().unwrap();
        let at = |name: &str| place.path().join(name);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SHELL, "sh", hatchery, "dev"])
            .args(arguments)
            .args(["--", "--workers", "2", "--port", "0", "--pass-fds", "9"])
            .args(["--lame-duck", "200ms", "--drain-timeout", "5s"])
            .args(["--orphan-grace", "2s", "--runtime-dir"])
            .arg(at("run"))
            .arg("--events")
            .arg(at("events"));
        clean_environment(&mut command);
        command
            .envs(environment)
            .stdin(Stdio::from(writer))
            .stdout(File::create(at("stdout")).unwrap())
            .stderr(File::create(at("stderr")).unwrap())
            // As a shell with job control does: a Ctrl-C reaches this group.
            .process_group(0)
            .current_dir(folder);
        let dev = command.spawn().unwrap();
        Self {
            dev: RefCell::new(dev),
            events: RefCell::new(EventLog::new(&at("events"))),
            place,
            survivors,
            patience,
        }
    }

    /// The process of `hatchery dev`.
    pub fn pid(&self) -> u32 {
        self.dev.borrow().id()
    }

    /// What the terminal shows of errors.
    pub fn stderr(&self) -> String {
        read(&self.place.path().join("stderr"))
    }

    /// All events of the application so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow_mut().refresh().to_vec()
    }

    /// Waits for the n-th such event of the application, counted from 1.
    #[track_caller]
    pub fn wait_nth(&self, wanted: impl Into<Step>, nth: usize) -> Event {
        let wanted = wanted.into();
        let found = self.until(|| {
            let events = self.events();
            let mut fitting = events.into_iter().filter(|event| wanted.fits(event));
            fitting.nth(nth - 1)
        });
        found.unwrap_or_else(|| panic!("no {wanted} (number {nth}): {}", names(&self.events())))
    }

    /// How many such events there were.
    pub fn count(&self, wanted: impl Into<Step>) -> usize {
        count(&self.events(), wanted)
    }

    /// Where the application serves.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.wait_nth("egg-ready", 1).address()
    }

    /// Waits until the terminal has shown these words so many times.
    #[track_caller]
    pub fn expect_words(&self, words: &str, times: usize) {
        let shown = self.until(|| (self.stderr().matches(words).count() >= times).then_some(()));
        assert!(shown.is_some(), "not {times} times {words:?}");
    }

    /// Waits for something that no event tells.
    pub fn until<T>(&self, look: impl FnMut() -> Option<T>) -> Option<T> {
        wait::until(self.patience, look)
    }

    /// Ctrl-C, for everybody in the terminal's foreground.
    pub fn interrupt(&self) {
        process::kill_group(self.pid(), Signal::INT);
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ends(&self) -> ExitStatus {
        let ended = self.until(|| self.dev.borrow_mut().try_wait().unwrap());
        ended.expect("hatchery dev ends")
    }

    /// Waits until nobody is left whom it has started, directly or not, and nothing in the application's directory.
    #[track_caller]
    pub fn leaves_nobody(&self) {
        assert!(
            self.survivors.gone_within(wait::PATIENCE),
            "{:?}",
            self.survivors.list()
        );
        let control = self.place.path().join("run/control.sock");
        assert!(!fs::exists(control).unwrap());
    }
}

impl Drop for Developing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- events: {}", names(&self.events()));
            eprintln!("--- stderr:\n{}", self.stderr());
            eprintln!("--- survivors: {:?}", self.survivors.list());
        }
        self.survivors.kill_all();
        let _ = self.dev.borrow_mut().wait();
    }
}
