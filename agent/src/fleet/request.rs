//! A question to all members, and their answers as they come.
//!
//! Each member gives one answer at the most; one where nobody listens says so at once. So the answers end when
//! every member that the question reached has said something, and with the deadline in any case. What comes
//! later finds no open question and is dropped: it can never be taken for the answer to another one.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hatchery_protocol::child::fleet::Heard;
use hatchery_protocol::clock::monotonic;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::envelope::Kind;
use super::message::{self, check_name, check_payload, encode};
use super::presence::MOST_MEMBERS;
use super::relay::Arrived;
use super::{
    Answer, Answers, Fleet, FleetError, FleetMessage, Inner, LARGEST_PAYLOAD, MemberId, room,
};

/// How many questions a process may have open.
const MOST: usize = 1024;
/// How much the answers that wait for one asker may be together.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The questions of this process that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Mutex<HashMap<u64, Open>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Open {
    queue: mpsc::Sender<Heard>,
    room: Arc<Semaphore>,
    heard: HashSet<MemberId>,
    /// The clusters that have answered: while an agent takes over from another one, both are members.
    clusters: HashSet<u64>,
}

impl Fleet {
    /// Asks everybody who listens to the topic, on all hosts and on this one.
    ///
    /// # Errors
    ///
    /// What keeps the question from being sent, see [`FleetError`].
    pub async fn request_all<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        question: &T,
        deadline: Duration,
    ) -> Result<Answers, FleetError> {
        self.request_all_bytes(topic, &encode(question)?, deadline)
            .await
    }

    /// The same with bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`request_all`](Self::request_all).
    pub async fn request_all_bytes(
        &self,
        topic: &str,
        question: &[u8],
        deadline: Duration,
    ) -> Result<Answers, FleetError> {
        let inner = self.inner()?;
        check_name(topic)?;
        check_payload(question, LARGEST_PAYLOAD)?;
        let until = Instant::now() + deadline;
        let (number, queue) = inner.questions.open()?;
        let asking = Arc::clone(inner);
        // From here on dropping this closes the question, on every way out.
        let answers = Answers::new(queue, until, move || {
            asking.questions.table().remove(&number);
        });
        let kind = Kind::Question {
            topic: topic.to_owned(),
            number,
            within: deadline,
        };
        let asked = inner.publish(&inner.keys.everybody, kind, question);
        let asked = timeout_at(until, asked).await;
        Ok(answers.of(asked.map_err(|_| FleetError::Unanswered)??))
    }
}

impl Questions {
    fn open(&self) -> Result<(u64, mpsc::Receiver<Heard>), FleetError> {
        let mut table = self.table();
        if table.len() >= MOST {
            return Err(FleetError::TooMany("questions"));
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (queue, receiver) = mpsc::channel(MOST_MEMBERS);
        let open = Open {
            queue,
            room: Arc::new(Semaphore::new(room::places(ANSWER_BYTES))),
            heard: HashSet::new(),
            clusters: HashSet::new(),
        };
        table.insert(number, open);
        Ok((number, receiver))
    }

    /// Takes an answer in, the first of each member and of each cluster. One too many or too large for what waits
    /// already is lost.
    pub(super) fn answered(
        &self,
        number: u64,
        from: MemberId,
        cluster: u64,
        payload: Option<&[u8]>,
    ) {
        let mut table = self.table();
        let Some(open) = table.get_mut(&number) else {
            return;
        };
        if open.heard.len() >= MOST_MEMBERS || !open.heard.insert(from.clone()) {
            return;
        }
        let heard = match payload.filter(|_| open.clusters.insert(cluster)) {
            None => Heard {
                answer: None,
                room: None,
            },
            Some(payload) => {
                let Some(room) = room::take(&open.room, payload.len()) else {
                    return;
                };
                Heard {
                    answer: Some(Answer::new(from, payload.to_vec())),
                    room: Some(room),
                }
            }
        };
        let _ = open.queue.try_send(heard);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question of somebody's, here: how it is answered, once.
#[derive(Debug)]
struct Question {
    inner: Weak<Inner>,
    number: u64,
    answered: AtomicBool,
}

impl message::Question for Question {
    fn answer<'a>(
        &'a self,
        asker: &'a MemberId,
        answer: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<(), FleetError>> + Send + 'a>> {
        Box::pin(async move {
            let inner = self.inner.upgrade().ok_or(FleetError::Disconnected)?;
            if self.answered.swap(true, Ordering::Relaxed) {
                return Err(FleetError::NoQuestion);
            }
            let number = self.number;
            let inbox = inner.keys.inbox(&asker.0);
            inner
                .publish(&inbox, Kind::Answer { number }, answer)
                .await
                .map(|_| ())
        })
    }
}

impl Inner {
    /// Hands a question to who listens in this process; else to one of the others of this host that do; or says that
    /// nobody does.
    pub(super) fn be_asked(
        self: &Arc<Self>,
        from: MemberId,
        topic: String,
        number: u64,
        within: Duration,
        payload: &[u8],
    ) {
        let question = Question {
            inner: Arc::downgrade(self),
            number,
            answered: AtomicBool::new(false),
        };
        let (at, question) = (monotonic(), Some(Arc::new(question) as _));
        let payload = Bytes::copy_from_slice(payload);
        let message = FleetMessage::new(
            from.clone(),
            topic.as_str().into(),
            payload.clone(),
            question,
        );
        if self.hub.deliver(&message, at) > 0 {
            return;
        }
        let arrived = Arrived {
            at,
            from,
            number,
            topic,
            payload,
        };
        let asked = self.relay.ask(&arrived, within);
        // Not here: whoever reads messages must not wait for Redis. What is on its way is bounded, so these are.
        let place = match asked {
            Some(_) => None,
            None => match self.place_on_the_way(0) {
                Ok(place) => Some(place),
                Err(_) => return,
            },
        };
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            let answer = match asked {
                Some(asked) => asked.await,
                None => None,
            };
            let inbox = inner.keys.inbox(&arrived.from.0);
            let (kind, payload) = match &answer {
                Some(reply) => (Kind::Answer { number }, &reply.payload[..]),
                None => (Kind::Nobody { number }, &b""[..]),
            };
            let _ = inner.publish(&inbox, kind, payload).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_member_is_heard_once_and_only_for_its_question() {
        let questions = Questions::default();
        let (first, mut queue) = questions.open().unwrap();
        let (second, mut other) = questions.open().unwrap();
        let member = |name: &str| MemberId(name.into());
        questions.answered(first, member("a"), 1, Some(b"1"));
        questions.answered(first, member("a"), 1, Some(b"2"));
        questions.answered(first, member("b"), 2, None);
        // Another agent of the first one's cluster, which takes over from it.
        questions.answered(first, member("c"), 1, Some(b"4"));
        questions.answered(second + 1, member("a"), 1, Some(b"3"));
        assert_eq!(queue.recv().await.unwrap().answer.unwrap().payload(), b"1");
        for _ in ["b", "c"] {
            assert!(queue.recv().await.unwrap().answer.is_none());
        }
        assert!(queue.try_recv().is_err());
        assert!(other.try_recv().is_err());
    }

    #[test]
    fn questions_are_bounded() {
        let questions = Questions::default();
        let open: Vec<_> = (0..MOST).map(|_| questions.open().unwrap()).collect();
        assert_eq!(
            questions.open().unwrap_err(),
            FleetError::TooMany("questions")
        );
        drop(open);
    }
}
