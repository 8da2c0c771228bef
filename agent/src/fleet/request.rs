//! A question to all members, and their answers as they come.
//!
//! Each member gives one answer at the most; one where nobody listens says so at once. So the answers end when
//! every member that the question reached has said something, and with the deadline in any case. What comes
//! later finds no open question and is dropped: it can never be taken for the answer to another one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::envelope::Kind;
use super::message::{check_name, check_payload, decode, encode};
use super::presence::MOST_MEMBERS;
use super::{Fleet, FleetError, FleetMessage, Inner, MemberId, room};

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
}

#[derive(Debug)]
struct Heard {
    answer: Option<Answer>,
    _room: Option<OwnedSemaphorePermit>,
}

/// What one member answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Who.
    pub from: MemberId,
    payload: Vec<u8>,
}

impl Answer {
    /// What, as bytes.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What.
    ///
    /// # Errors
    ///
    /// [`FleetError::Payload`] if it is of another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FleetError> {
        decode(&self.payload)
    }
}

/// The answers to one question. Dropping them ends the question.
#[derive(Debug)]
pub struct Answers {
    inner: Arc<Inner>,
    number: u64,
    queue: mpsc::Receiver<Heard>,
    waiting_for: u64,
    deadline: Instant,
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
        check_payload(question)?;
        let deadline = Instant::now() + deadline;
        let (number, queue) = inner.questions.open()?;
        // From here on dropping this closes the question, on every way out.
        let mut answers = Answers {
            inner: Arc::clone(inner),
            number,
            queue,
            waiting_for: 0,
            deadline,
        };
        let kind = Kind::Question {
            topic: topic.to_owned(),
            number,
        };
        let asked = inner.publish(&inner.keys.everybody, kind, question);
        let asked = timeout_at(deadline, asked).await;
        answers.waiting_for = asked.map_err(|_| FleetError::Unanswered)??;
        Ok(answers)
    }
}

impl Answers {
    /// The next answer; `None` when every member has said something, or when the time is over.
    pub async fn next(&mut self) -> Option<Answer> {
        while self.waiting_for > 0 {
            let heard = timeout_at(self.deadline, self.queue.recv()).await.ok()??;
            self.waiting_for -= 1;
            if heard.answer.is_some() {
                return heard.answer;
            }
        }
        None
    }

    /// How many members the question reached that have said nothing yet. More than 0 after the last answer:
    /// so many were too slow, or are gone.
    pub fn missing(&self) -> u64 {
        self.waiting_for
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.inner.questions.table().remove(&self.number);
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
        };
        table.insert(number, open);
        Ok((number, receiver))
    }

    /// Takes an answer in, the first of each member. One too many or too large for what waits already is lost.
    pub(super) fn answered(&self, number: u64, from: MemberId, payload: Option<&[u8]>) {
        let mut table = self.table();
        let Some(open) = table.get_mut(&number) else {
            return;
        };
        if open.heard.len() >= MOST_MEMBERS || !open.heard.insert(from.clone()) {
            return;
        }
        let heard = match payload {
            None => Heard {
                answer: None,
                _room: None,
            },
            Some(payload) => {
                let Some(room) = room::take(&open.room, payload.len()) else {
                    return;
                };
                Heard {
                    answer: Some(Answer {
                        from,
                        payload: payload.to_vec(),
                    }),
                    _room: Some(room),
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
pub(super) struct Question {
    inner: Weak<Inner>,
    number: u64,
    answered: AtomicBool,
}

impl Question {
    pub(super) async fn answer(&self, asker: &MemberId, answer: &[u8]) -> Result<(), FleetError> {
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
    }
}

impl Inner {
    /// Hands a question to who listens here, or says that nobody does.
    pub(super) fn be_asked(
        self: &Arc<Self>,
        from: MemberId,
        topic: String,
        number: u64,
        payload: &[u8],
    ) {
        let question = Question {
            inner: Arc::downgrade(self),
            number,
            answered: AtomicBool::new(false),
        };
        let message = FleetMessage::new(from.clone(), topic.into(), payload.into(), Some(question));
        if self.hub.deliver(&message) > 0 {
            return;
        }
        // Not here: whoever reads messages must not wait for Redis. What is on its way is bounded, so these are.
        let Ok(place) = self.place_on_the_way(0) else {
            return;
        };
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            let inbox = inner.keys.inbox(&from.0);
            let _ = inner.publish(&inbox, Kind::Nobody { number }, b"").await;
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
        questions.answered(first, member("a"), Some(b"1"));
        questions.answered(first, member("a"), Some(b"2"));
        questions.answered(first, member("b"), None);
        questions.answered(second + 1, member("a"), Some(b"3"));
        assert_eq!(queue.recv().await.unwrap().answer.unwrap().payload(), b"1");
        assert!(queue.recv().await.unwrap().answer.is_none());
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
