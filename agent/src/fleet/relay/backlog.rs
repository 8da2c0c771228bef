//! What came last, for a process that turns to this agent: the one before it may not have passed it on. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::Arrived;

/// How many messages are kept.
const MOST: usize = 1024;
/// How much they are together, without the newest one.
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    messages: VecDeque<Arrived>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn keep(&mut self, message: &Arrived) {
        self.bytes += message.payload.len();
        self.messages.push_back(message.clone());
        while self.messages.len() > MOST || (self.bytes > MOST_BYTES && self.messages.len() > 1) {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= oldest.payload.len();
            }
        }
    }

    /// What came for these topics, from these moments on; the newest of it that is no more than so many bytes together.
    pub(super) fn since(&self, topics: &[(String, Duration)], bytes: usize) -> Vec<Arrived> {
        let wanted = |message: &&Arrived| {
            let mut meant = topics.iter().filter(|(topic, _)| *topic == message.topic);
            meant.any(|(_, since)| message.at >= *since)
        };
        let mut left = bytes;
        let mut newest: Vec<Arrived> = Vec::new();
        for message in self.messages.iter().rev().filter(wanted) {
            let Some(less) = left.checked_sub(message.payload.len()) else {
                break;
            };
            left = less;
            newest.push(message.clone());
        }
        newest.reverse();
        newest
    }
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::child::fleet::MemberId;

    use super::*;

    fn arrived(second: u64, topic: &str, size: usize) -> Arrived {
        Arrived {
            at: Duration::from_secs(second),
            from: MemberId("a".into()),
            number: second,
            topic: topic.into(),
            payload: vec![0; size].into(),
        }
    }

    fn since(backlog: &Backlog, topics: &[(&str, u64)], bytes: usize) -> Vec<u64> {
        let topics = topics.iter();
        let topics: Vec<(String, Duration)> = topics
            .map(|(topic, since)| ((*topic).to_owned(), Duration::from_secs(*since)))
            .collect();
        let found = backlog.since(&topics, bytes);
        found.iter().map(|message| message.number).collect()
    }

    #[test]
    fn what_came_since_then_is_found_in_order() {
        let mut backlog = Backlog::default();
        for second in 0..10 {
            let topic = if second % 2 == 0 { "even" } else { "odd" };
            backlog.keep(&arrived(second, topic, 100));
        }
        assert_eq!(since(&backlog, &[("even", 3)], 1000), [4, 6, 8]);
        assert_eq!(
            since(&backlog, &[("even", 6), ("odd", 7)], 1000),
            [6, 7, 8, 9]
        );
        assert_eq!(since(&backlog, &[("even", 0), ("odd", 0)], 250), [8, 9]);
        assert!(since(&backlog, &[("even", 9), ("none", 0)], 1000).is_empty());
    }

    #[test]
    fn no_more_is_kept_than_it_may_be() {
        let mut backlog = Backlog::default();
        for second in 0..5000 {
            backlog.keep(&arrived(second, "t", 1));
        }
        assert_eq!((backlog.messages.len(), backlog.bytes), (MOST, MOST));
        backlog.keep(&arrived(5000, "t", 2 * MOST_BYTES));
        assert_eq!((backlog.messages.len(), backlog.bytes), (1, 2 * MOST_BYTES));
        backlog.keep(&arrived(5001, "t", 1));
        assert_eq!((backlog.messages.len(), backlog.bytes), (1, 1));
    }
}
