//! The task that hears what comes from the fleet, and keeps the agent informed of what this process listens to.
//!
//! Agents come and go. Each one that joins is told all topics, under a new *epoch*, and from which moment on: a
//! little before the last one was lost. It sends what it has heard since, and what came already is dropped here. What
//! an earlier agent still sends carries an earlier epoch, and is dropped, too: so nothing is heard twice, and what
//! is heard is in order, while two agents are there as well.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::hub::Hub;
use super::message::{FleetMessage, Question};
use super::once::Once;
use super::voice::Voice;
use super::wire::{self, News, Wish};
use super::{FleetError, MemberId};
use crate::child::messenger::{Message, PeerEvent, PeerEvents, Subscription, Target};
use crate::clock::monotonic;
use crate::id::Seat;

/// How much of what an agent had heard the next one says again, in case it did not get through.
const OVERLAP: Duration = Duration::from_secs(2);
/// How soon something is said again for which there was no room.
const RETRY: Duration = Duration::from_millis(20);

pub(super) struct Ear {
    hub: Arc<Hub>,
    voice: Arc<Voice>,
    /// The agents that are there.
    agents: BTreeSet<u64>,
    /// When the last of them was lost; nothing, before there was one.
    lost: Option<Duration>,
    messages: Once,
    questions: Once,
}

impl Ear {
    pub(super) fn new(hub: Arc<Hub>, voice: Arc<Voice>) -> Self {
        Self {
            hub,
            voice,
            agents: BTreeSet::new(),
            lost: None,
            messages: Once::default(),
            questions: Once::default(),
        }
    }

    /// Until this process has lost its master.
    pub(super) async fn listen(mut self, mut news: Subscription, mut peers: PeerEvents) {
        let mut again: Option<Instant> = None;
        loop {
            let voice = Arc::clone(&self.voice);
            let due = again.unwrap_or_else(Instant::now);
            tokio::select! {
                message = news.next() => match message {
                    Some(message) => self.hear(message),
                    None => return,
                },
                event = peers.next() => match event {
                    Some(event) => self.meet(event),
                    None => return,
                },
                () = voice.unsaid.notified() => again = Some(Instant::now() + RETRY),
                () = sleep_until(due), if again.is_some() => {
                    again = None;
                    voice.say_all(self.hub.listened());
                }
            }
        }
    }

    fn meet(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Joined(peer) if peer.seat == Seat::Agent => {
                self.turn_to(peer.incarnation);
            }
            PeerEvent::Left(peer) if peer.seat == Seat::Agent => {
                self.agents.remove(&peer.incarnation);
                if self.agents.is_empty() {
                    self.lost = Some(monotonic());
                }
            }
            PeerEvent::Joined(_) | PeerEvent::Left(_) | PeerEvent::Leaving(_) => {}
        }
    }

    fn turn_to(&mut self, agent: u64) {
        let well_until = if self.agents.is_empty() {
            self.lost.take()
        } else {
            Some(monotonic())
        };
        let from = well_until.map_or(Duration::ZERO, |until| until.saturating_sub(OVERLAP));
        self.messages.settle();
        self.questions.settle();
        // First, so that whoever begins to listen meanwhile is either in the list or speaks under this epoch.
        let epoch = self.voice.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let topics = self.hub.listened().into_iter();
        let topics = topics.map(|(topic, since)| (topic, since.max(from)));
        self.voice.say_all(topics.collect());
        for &other in &self.agents {
            let other = Target::Process(other);
            self.voice.send(other, &Wish::Leave { epoch });
        }
        self.agents.insert(agent);
    }

    fn hear(&mut self, message: Message) {
        // Only another build of this crate says what cannot be read.
        let Some((news, payload)) = wire::unpack::<News>(&message.payload) else {
            return;
        };
        let News {
            epoch,
            from,
            number,
            topic,
            arrived,
            missed,
        } = news;
        let is_question = message.wants_reply();
        let known = if is_question {
            &mut self.questions
        } else {
            &mut self.messages
        };
        if epoch != self.voice.epoch() || !known.is_new(&from, number) {
            return;
        }
        if missed > 0 {
            self.hub.miss(&topic, missed);
        }
        let question = is_question.then(|| -> Arc<dyn Question> { Arc::new(Asked(message)) });
        let arrived = Duration::from_nanos(arrived);
        let message = FleetMessage::new(from, topic.as_str().into(), payload, question);
        if self.hub.deliver(&message, arrived) == 0 {
            self.hub.tell_if_unheard(&topic);
        }
    }
}

/// A question that the agent passed on. Dropped without an answer, the agent hears of that.
#[derive(Debug)]
struct Asked(Message);

impl Question for Asked {
    fn answer<'a>(
        &'a self,
        _asker: &'a MemberId,
        answer: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<(), FleetError>> + Send + 'a>> {
        Box::pin(async move { Ok(self.0.reply_bytes(answer.to_vec()).await?) })
    }
}
