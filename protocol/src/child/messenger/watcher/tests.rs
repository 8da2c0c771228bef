//! Whatever comes, goes and is taken in between: little waits, and it tells nothing but the truth.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::child::messenger::Peer;
use crate::id::Seat;

const FEW: usize = 8;

fn peer(incarnation: u64) -> Peer {
    Peer {
        incarnation,
        seat: Seat::Worker(0),
        pid: 10,
    }
}

fn take(events: &mut PeerEvents) -> Option<PeerEvent> {
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(events).poll_next(&mut cx) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Join,
    /// One of those who are there.
    Leave(usize),
    Left(usize),
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        4 => any::<usize>().prop_map(Step::Left),
        2 => Just(Step::Take),
    ];
    prop::collection::vec(step, 1..200)
}

/// Whom a reader believes to be there, and whether they are about to leave.
#[derive(Default)]
struct Reader {
    there: BTreeMap<u64, bool>,
    last: u64,
}

impl Reader {
    fn hear(&mut self, event: PeerEvent) {
        let who = event.peer().incarnation;
        let known = match event {
            PeerEvent::Joined(_) => {
                assert!(who > self.last, "nobody comes twice, or out of turn");
                self.last = who;
                self.there.insert(who, false)
            }
            PeerEvent::Leaving(_) => self.there.insert(who, true).map(|leaving| !leaving),
            PeerEvent::Left(_) => self.there.remove(&who),
        };
        let was_known = !matches!(event, PeerEvent::Joined(_));
        assert_eq!(known.is_some(), was_known, "{event:?}");
    }
}

proptest! {
    #[test]
    fn a_reader_that_takes_little_hears_who_is_there(steps in steps()) {
        let (watcher, mut events) = watch_by(FEW);
        let mut there = BTreeMap::new();
        let mut reader = Reader::default();
        let mut last = 0;
        let pick = |there: &BTreeMap<u64, bool>, which: usize| {
            let which = which.checked_rem(there.len())?;
            there.keys().nth(which).copied()
        };
        // As many as were known or there at any one moment.
        let mut crowd = 0;
        for step in steps {
            match step {
                Step::Join => {
                    last += 1;
                    there.insert(last, false);
                    watcher.tell(PeerEvent::Joined(peer(last)));
                }
                Step::Leave(which) => {
                    if let Some(one) = pick(&there, which)
                        && there.insert(one, true) == Some(false)
                    {
                        watcher.tell(PeerEvent::Leaving(peer(one)));
                    }
                }
                Step::Left(which) => {
                    if let Some(one) = pick(&there, which) {
                        there.remove(&one);
                        watcher.tell(PeerEvent::Left(peer(one)));
                    }
                }
                Step::Take => {
                    if let Some(event) = take(&mut events) {
                        reader.hear(event);
                    }
                }
            }
            crowd = crowd.max(reader.there.len() + there.len());
            let waiting = lock(&events.0).events.len();
            prop_assert!(waiting <= FEW.max(4 * crowd), "{waiting} of {crowd}");
        }
        drop(watcher);
        while let Some(event) = take(&mut events) {
            reader.hear(event);
        }
        prop_assert_eq!(reader.there, there);
    }
}

#[test]
fn what_is_not_taken_for_long_is_short() {
    let (watcher, mut events) = watch();
    watcher.tell(PeerEvent::Joined(peer(1)));
    assert_eq!(take(&mut events), Some(PeerEvent::Joined(peer(1))));
    for number in 2..100_000 {
        watcher.tell(PeerEvent::Joined(peer(number)));
        watcher.tell(PeerEvent::Left(peer(number)));
        assert!(lock(&events.0).events.len() <= MANY);
    }
    watcher.tell(PeerEvent::Left(peer(1)));
    drop(watcher);
    let told: Vec<_> = std::iter::from_fn(|| take(&mut events)).collect();
    assert!(told.len() <= MANY);
    assert_eq!(told.last(), Some(&PeerEvent::Left(peer(1))));
}

/// Up to that many, everything is told.
#[test]
fn who_came_and_went_is_told_while_few_wait() {
    let (watcher, mut events) = watch();
    let all = (1..=u64::try_from(MANY / 2).unwrap()).flat_map(|number| {
        [
            PeerEvent::Joined(peer(number)),
            PeerEvent::Left(peer(number)),
        ]
    });
    for event in all.clone() {
        watcher.tell(event);
    }
    assert!(all.eq(std::iter::from_fn(|| take(&mut events))));
    assert!(!watcher.is_unheard());
    drop(events);
    assert!(watcher.is_unheard());
}

#[tokio::test]
async fn who_waits_is_woken_by_news_and_by_the_end() {
    let (watcher, mut events) = watch();
    let reader = tokio::spawn(async move {
        let first = events.next().await;
        (first, events.next().await)
    });
    tokio::task::yield_now().await;
    watcher.tell(PeerEvent::Joined(peer(1)));
    tokio::task::yield_now().await;
    drop(watcher);
    let heard = timeout(Duration::from_secs(30), reader).await.unwrap();
    assert_eq!(heard.unwrap(), (Some(PeerEvent::Joined(peer(1))), None));
}
