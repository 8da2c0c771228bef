//! The task that does what other processes of this host wish.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::child::fleet::Heard;
use hatchery_protocol::child::fleet::wire::{self, Done, Pull, Pulled, Said, WISHES, Wish};
use hatchery_protocol::child::messenger::{
    Message, PeerEvent, PeerEvents, ReplyError, Subscription, TopicError,
};
use hatchery_protocol::child::{CancellationToken, Messenger};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::LONGEST;
use super::book::Who;
use crate::fleet::{Fleet, FleetError};

/// How many wishes may be under way.
const UNDER_WAY: usize = 4096;
/// How much later than the end of a question its asker may ask for it.
const SLACK: Duration = Duration::from_secs(2);

/// Does what others wish until the runtime ends, if there is a fleet. To be called on the runtime.
pub(crate) fn serve(fleet: &Fleet, messenger: &Messenger) -> Result<(), TopicError> {
    let Ok(inner) = fleet.inner() else {
        return Ok(());
    };
    let messenger = messenger.reserved();
    let wishes = messenger.subscribe(WISHES)?;
    let peers = messenger.peer_events();
    // Set once: this is called once.
    let _ = inner.relay.messenger.set(messenger.clone());
    let office = Office {
        fleet: fleet.clone(),
        messenger,
        last_question: 0,
        askers: HashMap::new(),
        under_way: JoinSet::new(),
    };
    tokio::spawn(office.attend(wishes, peers));
    Ok(())
}

struct Office {
    fleet: Fleet,
    messenger: Messenger,
    last_question: u64,
    /// Cancelled when who has asked is gone.
    askers: HashMap<Who, CancellationToken>,
    under_way: JoinSet<()>,
}

impl Office {
    async fn attend(mut self, mut wishes: Subscription, mut peers: PeerEvents) {
        loop {
            tokio::select! {
                message = wishes.next() => match message {
                    Some(message) => self.hear(message),
                    None => return,
                },
                event = peers.next() => match event {
                    Some(PeerEvent::Left(peer)) => self.miss(peer.incarnation),
                    Some(_) => {}
                    None => return,
                },
                Some(_) = self.under_way.join_next() => {}
            }
        }
    }

    fn miss(&mut self, who: Who) {
        if let Ok(inner) = self.fleet.inner() {
            inner.relay.state().book.leave(who);
        }
        if let Some(asker) = self.askers.remove(&who) {
            asker.cancel();
        }
    }

    fn hear(&mut self, message: Message) {
        let who = message.from.incarnation;
        let (Some((wish, payload)), Ok(inner)) =
            (wire::unpack::<Wish>(&message.payload), self.fleet.inner())
        else {
            // Only another build of this crate wishes for what cannot be read.
            return;
        };
        match wish {
            Wish::Listen { epoch, topics } => {
                let topics = topics.into_iter();
                let topics = topics.map(|(topic, since)| (topic, Duration::from_nanos(since)));
                inner.relay.listen(who, epoch, topics.collect());
            }
            Wish::Forget { topic } => inner.relay.state().book.forget(who, &topic),
            Wish::Leave { epoch } => inner.relay.state().book.leave_before(who, epoch),
            // Dropped, it is answered so.
            _ if self.under_way.len() >= UNDER_WAY => {}
            Wish::Broadcast { topic, elsewhere } => {
                let inner = Arc::clone(inner);
                self.under_way.spawn(async move {
                    let sent = inner.broadcast(&topic, &payload, elsewhere).await;
                    reply(&message, &sent.map(Done::Sent)).await;
                });
            }
            Wish::Members => {
                let fleet = self.fleet.clone();
                self.under_way.spawn(async move {
                    let members = fleet.members().await;
                    reply(&message, &members.map(Done::Members)).await;
                });
            }
            Wish::Ask { topic, within } => {
                self.last_question += 1;
                let ask = Ask {
                    fleet: self.fleet.clone(),
                    messenger: self.messenger.clone(),
                    question: self.last_question,
                    within: within.min(LONGEST),
                };
                let gone = self.askers.entry(who).or_default().clone();
                self.under_way.spawn(async move {
                    let asked = ask.ask(&topic, &payload, &message);
                    gone.run_until_cancelled(asked).await;
                });
            }
        }
    }
}

/// A question of somebody else's, asked here.
struct Ask {
    fleet: Fleet,
    messenger: Messenger,
    question: u64,
    within: Duration,
}

impl Ask {
    /// Until the asker has all answers, or enough of them, or the time is over.
    async fn ask(self, topic: &str, payload: &[u8], message: &Message) {
        let end = Instant::now() + self.within + SLACK;
        let asked = self.fleet.request_all_bytes(topic, payload, self.within);
        let mut answers = match asked.await {
            Ok(answers) => answers,
            Err(error) => return reply(message, &Err(error)).await,
        };
        let pulls = self.messenger.subscribe(&wire::answers(self.question));
        let Ok(mut pulls) = pulls else { return };
        let done = Done::Asked {
            question: self.question,
            members: answers.missing(),
        };
        reply(message, &Ok(done)).await;
        while let Ok(Some(pull)) = timeout_at(end, pulls.next()).await {
            if !matches!(wire::unpack(&pull.payload), Some((Pull::Next, _))) {
                return;
            }
            let heard = tokio::select! {
                heard = answers.heard() => heard,
                // Enough, for there is one at a time of the others.
                _ = pulls.next() => return,
            };
            let (pulled, payload) = match heard {
                Some(Heard {
                    answer: Some(answer),
                    ..
                }) => (
                    Pulled::Answer(answer.from.clone()),
                    answer.payload().to_vec(),
                ),
                Some(Heard { answer: None, .. }) => (Pulled::Nobody, Vec::new()),
                None => (Pulled::End, Vec::new()),
            };
            let Ok(bytes) = wire::pack(&pulled, &payload) else {
                return;
            };
            if pull.reply_bytes(bytes).await.is_err() || pulled == Pulled::End {
                return;
            }
        }
    }
}

async fn reply(message: &Message, said: &Said) {
    let replied = match message.reply(said).await {
        Err(ReplyError::Send(error)) => {
            let failed: Said = Err(FleetError::from(error));
            message.reply(&failed).await
        }
        replied => replied,
    };
    if let Err(error) = replied {
        tracing::debug!("{} does not hear of the fleet: {error}", message.from);
    }
}
