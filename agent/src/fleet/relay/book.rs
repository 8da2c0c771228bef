//! Which process of this host listens to what. Pure.

use std::collections::{BTreeSet, HashMap};

/// A process, by its incarnation.
pub(super) type Who = u64;

#[derive(Debug, Default)]
pub(super) struct Book {
    listeners: HashMap<Who, Listener>,
    topics: HashMap<String, BTreeSet<Who>>,
    /// Who was asked last.
    turn: Who,
}

#[derive(Debug, Default)]
struct Listener {
    epoch: u64,
    /// With how many messages it has missed since the last one.
    topics: HashMap<String, u64>,
}

impl Book {
    /// Somebody listens to a topic, too; to nothing else, if its epoch is a later one. Whether that is new.
    pub(super) fn listen(&mut self, who: Who, epoch: u64, topic: &str) -> bool {
        let known = self.listeners.get(&who).map(|listener| listener.epoch);
        match known {
            Some(known) if epoch < known => return false,
            Some(known) if epoch > known => self.leave(who),
            Some(_) | None => {}
        }
        let listener = self.listeners.entry(who).or_default();
        listener.epoch = epoch;
        let is_new = listener.topics.insert(topic.to_owned(), 0).is_none();
        self.topics.entry(topic.to_owned()).or_default().insert(who);
        is_new
    }

    pub(super) fn forget(&mut self, who: Who, topic: &str) {
        if let Some(listener) = self.listeners.get_mut(&who) {
            listener.topics.remove(topic);
        }
        self.strike(who, topic);
    }

    /// Somebody has turned to another agent, under this epoch.
    pub(super) fn leave_before(&mut self, who: Who, epoch: u64) {
        let known = self.listeners.get(&who);
        if known.is_some_and(|listener| listener.epoch < epoch) {
            self.leave(who);
        }
    }

    /// Somebody is gone.
    pub(super) fn leave(&mut self, who: Who) {
        let left = self.listeners.remove(&who).unwrap_or_default();
        for topic in left.topics.into_keys() {
            self.strike(who, &topic);
        }
    }

    fn strike(&mut self, who: Who, topic: &str) {
        if let Some(listeners) = self.topics.get_mut(topic) {
            listeners.remove(&who);
            if listeners.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Who listens to a topic.
    pub(super) fn listeners(&self, topic: &str) -> Vec<Who> {
        let listeners = self.topics.get(topic).into_iter().flatten();
        listeners.copied().collect()
    }

    /// One of those, in turn, and its epoch.
    pub(super) fn one(&mut self, topic: &str) -> Option<(Who, u64)> {
        let listeners = self.topics.get(topic)?;
        let next = listeners.range(self.turn.saturating_add(1)..).next();
        let one = *next.or_else(|| listeners.first())?;
        self.turn = one;
        Some((one, self.epoch(one)))
    }

    pub(super) fn epoch(&self, who: Who) -> u64 {
        self.listeners.get(&who).map_or(0, |found| found.epoch)
    }

    /// How many messages of that topic it has missed since the last one.
    pub(super) fn missed(&mut self, who: Who, topic: &str) -> Option<&mut u64> {
        self.listeners.get_mut(&who)?.topics.get_mut(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_begins_anew_and_an_earlier_one_is_not_heard() {
        let mut book = Book::default();
        assert!(book.listen(1, 1, "a"));
        assert!(!book.listen(1, 1, "a"));
        assert!(book.listen(1, 1, "b"));
        assert!(book.listen(2, 1, "a"));
        *book.missed(1, "a").unwrap() = 3;
        assert!(book.listen(1, 2, "a"), "it is to hear what it missed");
        assert_eq!(*book.missed(1, "a").unwrap(), 0);
        assert!(!book.listen(1, 1, "b"));
        assert_eq!(
            (book.listeners("a"), book.listeners("b")),
            (vec![1, 2], vec![])
        );
        assert_eq!(book.epoch(1), 2);
    }

    #[test]
    fn nothing_is_left_of_who_went() {
        let mut book = Book::default();
        book.listen(1, 4, "a");
        book.listen(1, 4, "b");
        book.listen(2, 1, "b");
        book.leave_before(1, 4);
        assert_eq!(book.listeners("a"), [1]);
        book.forget(2, "b");
        book.forget(3, "c");
        book.leave_before(1, 5);
        book.leave(2);
        assert!(book.topics.is_empty() && book.listeners.is_empty());
    }

    #[test]
    fn questions_go_to_one_after_the_other() {
        let mut book = Book::default();
        assert_eq!(book.one("a"), None);
        for who in [5, 3, 9] {
            book.listen(who, who, "a");
        }
        let asked: Vec<_> = (0..5).map(|_| book.one("a").unwrap().0).collect();
        assert_eq!(asked, [3, 5, 9, 3, 5]);
        book.leave(9);
        assert_eq!(book.one("a"), Some((3, 3)));
    }
}
