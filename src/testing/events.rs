//! Reads the events of a running cluster as they are written.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use hatchery_protocol::event::EventRecord;

#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    read: RefCell<Read>,
}

#[derive(Debug, Default)]
struct Read {
    bytes: u64,
    /// A line whose end is not written yet.
    partial: String,
    events: Arc<Vec<EventRecord>>,
}

impl Events {
    /// The file need not exist yet.
    pub(super) fn new(path: PathBuf) -> Self {
        let read = RefCell::default();
        Self { path, read }
    }

    /// All of them so far. Whoever looks may ask the cluster meanwhile, and so look again.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[EventRecord]) -> T) -> T {
        let events = self.read();
        look(&events)
    }

    fn read(&self) -> Arc<Vec<EventRecord>> {
        let mut read = self.read.borrow_mut();
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(read.bytes)).is_ok()
            && let Ok(length) = file.read_to_string(&mut text)
        {
            read.bytes += length as u64;
            read.partial.push_str(&text);
            while let Some((line, rest)) = read.partial.split_once('\n') {
                let event = serde_json::from_str(line);
                let rest = rest.to_owned();
                // What another version of hatchery may tell is not understood, and not waited for.
                Arc::make_mut(&mut read.events).extend(event.ok());
                read.partial = rest;
            }
        }
        Arc::clone(&read.events)
    }
}
