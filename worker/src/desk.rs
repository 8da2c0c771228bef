//! What one connection is working on, for the day the worker hangs.
//!
//! The watch thread reads it while the runtime stands still, so it cannot be a matter of tasks. It is on the
//! path of every request, so it is made of what costs least: one lock that nobody else wants, the time of the
//! kernel's last tick, and a copy of the path beside them: with many connections each further place in memory is
//! one that the processor has to wait for. Nothing refers to the request itself: its header's buffer is free to
//! be used for the next one.
//!
//! HTTP/1 answers one request at a time. Its entry is overwritten by the next, and whether there is one at all
//! the connection knows. HTTP/2 has as many entries as it ever had requests at once.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hatchery_protocol::clock::coarse;
use hatchery_protocol::diagnosis::RequestInFlight;
use http::Method;

/// How many bytes of a path are kept.
const PATH: usize = 128;

/// The entries of one connection.
#[derive(Debug, Default)]
pub(crate) struct Desk(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    first: Entry,
    /// Of HTTP/2 only.
    more: Vec<Entry>,
}

impl Entries {
    fn all(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }
}

#[derive(Debug)]
struct Entry {
    method: Method,
    since: Duration,
    /// Whether it is being answered. Of HTTP/1 the connection knows better.
    open: bool,
    /// How many of the bytes are of this path.
    length: usize,
    path: [u8; PATH],
}

impl Default for Entry {
    /// Nothing yet.
    fn default() -> Self {
        Self {
            method: Method::default(),
            since: Duration::ZERO,
            open: false,
            length: 0,
            path: [0; PATH],
        }
    }
}

impl Entry {
    fn set(&mut self, method: &Method, path: &str) {
        let path = clipped(path).as_bytes();
        self.method.clone_from(method);
        self.length = path.len();
        if let Some(room) = self.path.get_mut(..path.len()) {
            room.copy_from_slice(path);
        }
        self.since = coarse();
        self.open = true;
    }

    fn path(&self) -> String {
        let path = self.path.get(..self.length).unwrap_or_default();
        String::from_utf8_lossy(path).into_owned()
    }
}

/// Where an entry is, of several. Counts from 1, so that "none" takes no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(NonZeroU32);

impl Ticket {
    fn of(index: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(u32::try_from(index).unwrap_or(u32::MAX)))
    }

    fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

impl Desk {
    /// A request that is the only one of its connection, instead of the one before.
    pub(crate) fn replace(&self, method: &Method, path: &str) {
        self.lock().first.set(method, path);
    }

    /// One request more.
    pub(crate) fn add(&self, method: &Method, path: &str) -> Ticket {
        let mut entries = self.lock();
        let free = entries.all_mut().enumerate().find(|(_, e)| !e.open);
        if let Some((index, entry)) = free {
            entry.set(method, path);
            return Ticket::of(index);
        }
        let mut entry = Entry::default();
        entry.set(method, path);
        entries.more.push(entry);
        Ticket::of(entries.more.len())
    }

    /// The end of one that was added.
    pub(crate) fn remove(&self, ticket: Ticket) {
        if let Some(entry) = self.lock().all_mut().nth(ticket.index()) {
            entry.open = false;
        }
    }

    /// Appends what is on the desk to `requests`.
    pub(crate) fn describe(&self, now: Duration, requests: &mut Vec<RequestInFlight>) {
        let entries = self.lock();
        let open = entries.all().filter(|entry| entry.open);
        requests.extend(open.map(|entry| RequestInFlight {
            method: entry.method.to_string(),
            path: entry.path(),
            age: now.saturating_sub(entry.since),
        }));
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clipped(path: &str) -> &str {
    if path.len() <= PATH {
        return path;
    }
    let end = (0..=PATH).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(desk: &Desk) -> Vec<String> {
        let mut requests = Vec::new();
        desk.describe(coarse(), &mut requests);
        requests.into_iter().map(|request| request.path).collect()
    }

    #[test]
    fn one_takes_the_place_of_the_other() {
        let desk = Desk::default();
        desk.replace(&Method::GET, "/a");
        desk.replace(&Method::POST, "/b");
        let mut requests = Vec::new();
        desk.describe(coarse() + Duration::from_secs(1), &mut requests);
        let [request] = &requests[..] else {
            panic!("{requests:?}")
        };
        assert_eq!((&*request.method, &*request.path), ("POST", "/b"));
        assert!(request.age >= Duration::from_secs(1), "{request:?}");
    }

    #[test]
    fn several_come_and_go_in_any_order() {
        let desk = Desk::default();
        let [a, b, c] = ["/a", "/b", "/c"].map(|path| desk.add(&Method::GET, path));
        desk.remove(b);
        assert_eq!(paths(&desk), ["/a", "/c"]);
        assert_eq!(
            desk.add(&Method::GET, "/d"),
            b,
            "a free place is used again"
        );
        desk.remove(a);
        desk.remove(c);
        assert_eq!(paths(&desk), ["/d"]);
    }

    #[test]
    fn a_long_path_is_cut_between_characters() {
        let desk = Desk::default();
        desk.replace(&Method::GET, &format!("/{}", "ä".repeat(PATH)));
        let kept = &paths(&desk)[0];
        assert!(kept.len() <= PATH && kept.ends_with('ä'), "{kept}");
    }
}
