//! The lifecycle as a test sees it: lines of `--events FILE`.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One line. The fields are the contract, spelled out here again on purpose: a harness that used the
/// product's own type would follow when the product breaks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Milliseconds on the host's monotonic clock.
    pub ts_ms: u64,
    /// What happened.
    pub event: String,
    /// `master`, `agent` or `worker`.
    pub role: String,
    /// The worker's slot.
    pub slot: Option<u32>,
    /// The process.
    pub pid: Option<u32>,
    /// The generation it belongs to.
    pub generation: u64,
    /// Why.
    pub reason: Option<String>,
    /// How a process ended.
    #[serde(default)]
    pub exit: Option<String>,
}

impl Event {
    /// The reason, empty when there is none.
    pub fn why(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// The first address that egg-ready tells.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let mut words = self.why().split([' ', ',']);
        let address = words.find_map(|word| word.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {self:?}"))
    }
}

/// Which event is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    name: String,
    role: Option<&'static str>,
    slot: Option<u32>,
    pid: Option<u32>,
}

/// Any event of this name.
pub fn step(name: &str) -> Step {
    Step {
        name: name.to_owned(),
        ..Step::default()
    }
}

impl Step {
    /// Only of this role.
    #[must_use]
    pub fn role(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }

    /// Only of this slot.
    #[must_use]
    pub fn slot(mut self, slot: u32) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Only of this process.
    #[must_use]
    pub fn pid(mut self, pid: u32) -> Self {
        self.pid = Some(pid);
        self
    }

    /// Whether this event is meant.
    pub fn fits(&self, event: &Event) -> bool {
        event.event == self.name
            && self.role.is_none_or(|role| event.role == role)
            && self.slot.is_none_or(|slot| event.slot == Some(slot))
            && self.pid.is_none_or(|pid| event.pid == Some(pid))
    }
}

impl From<&str> for Step {
    fn from(name: &str) -> Self {
        step(name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(role) = self.role {
            write!(f, " of the {role}")?;
        }
        if let Some(slot) = self.slot {
            write!(f, " of slot {slot}")?;
        }
        if let Some(pid) = self.pid {
            write!(f, " of process {pid}")?;
        }
        Ok(())
    }
}

/// Reads a growing file of events.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    /// The file's number: it may be moved away, and another one begun.
    file: u64,
    read: u64,
    partial: String,
    events: Vec<Event>,
}

impl EventLog {
    /// The file need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: 0,
            read: 0,
            partial: String::new(),
            events: Vec::new(),
        }
    }

    /// Everything written so far.
    pub fn refresh(&mut self) -> &[Event] {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.path)
            && self.knows(&file)
            && file.seek(SeekFrom::Start(self.read)).is_ok()
            && let Ok(read) = file.read_to_string(&mut text)
        {
            self.read += read as u64;
            self.partial.push_str(&text);
            while let Some((line, rest)) = self.partial.split_once('\n') {
                let event = serde_json::from_str(line)
                    .unwrap_or_else(|e| panic!("not an event ({e}): {line}"));
                self.events.push(event);
                self.partial = rest.to_owned();
            }
        }
        &self.events
    }

    /// A file that is another one than before is read from its beginning.
    fn knows(&mut self, file: &File) -> bool {
        let Ok(number) = file.metadata().map(|metadata| metadata.ino()) else {
            return false;
        };
        if std::mem::replace(&mut self.file, number) != number {
            self.read = 0;
        }
        true
    }

    /// Everything seen at the last refresh.
    pub fn seen(&self) -> &[Event] {
        &self.events
    }
}

/// Position of the first event that fits.
#[track_caller]
pub fn position(events: &[Event], wanted: impl Into<Step>) -> usize {
    let wanted = wanted.into();
    events
        .iter()
        .position(|event| wanted.fits(event))
        .unwrap_or_else(|| panic!("no {wanted} among {}", names(events)))
}

/// How many events fit.
pub fn count(events: &[Event], wanted: impl Into<Step>) -> usize {
    let wanted = wanted.into();
    events.iter().filter(|event| wanted.fits(event)).count()
}

/// The events in one line, for messages.
pub fn names(events: &[Event]) -> String {
    let names: Vec<String> = events
        .iter()
        .map(|event| match event.slot {
            Some(slot) => format!("{}[{slot}]", event.event),
            None => event.event.clone(),
        })
        .collect();
    names.join(" ")
}
