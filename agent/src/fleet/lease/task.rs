//! One contender at work: asks what the rules say, and tells them what came of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::clock;
use redis::cmd;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::handle::Count;
use super::rules::{Ask, Hold, Rules, Told};
use crate::fleet::link::Current;
use crate::fleet::session::Session;
use crate::fleet::{FleetError, Inner, random};

/// How long giving a lease back may take.
const GOODBYE: Duration = Duration::from_millis(500);

pub(super) struct Contender {
    inner: Arc<Inner>,
    key: String,
    rules: Rules,
    hold: watch::Sender<Option<Hold>>,
    counter: Arc<AtomicUsize>,
    counted: Option<Count>,
    /// The last session's number.
    session: u64,
}

impl Contender {
    pub(super) fn new(
        inner: Arc<Inner>,
        name: &str,
        hold: watch::Sender<Option<Hold>>,
        counter: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            key: inner.keys.lease(name),
            rules: Rules::new(inner.leases.length),
            inner,
            hold,
            counter,
            counted: None,
            session: 0,
        }
    }

    /// Until it is told to stop; then what is held is given back.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut link = self.inner.link.watch();
        loop {
            let session = match &*link.borrow_and_update() {
                Current::Up(session) => Some(session.clone()),
                Current::Down(_) | Current::Left => None,
            };
            let now = clock::boottime();
            if let Some(session) = &session
                && session.number != self.session
            {
                self.session = session.number;
                self.rules.reconnected(now);
            }
            let asked = self.rules.ask(now);
            self.publish();
            let pause = match (asked, &session) {
                (Ok(ask), Some(session)) => {
                    let asking = self.put(&ask, session);
                    tokio::select! {
                        () = asking => continue,
                        () = stop.cancelled() => break,
                    }
                }
                (Err(until), _) => self.pause(until.saturating_sub(now)),
                // Nobody to ask. What is held ends by the clock.
                (Ok(_), None) => match self.rules.held(now) {
                    Some(hold) => hold.until.saturating_sub(now),
                    None => Duration::MAX,
                },
            };
            tokio::select! {
                () = sleep(pause) => {}
                changed = link.changed() => if changed.is_err() { break },
                () = stop.cancelled() => break,
            }
        }
        self.give_back().await;
    }

    /// Those who only look do not all look at once.
    fn pause(&self, until: Duration) -> Duration {
        if self.rules.held(clock::boottime()).is_some() {
            until
        } else {
            until + until.saturating_sub(random::part_of(until)) / 2
        }
    }

    async fn put(&mut self, ask: &Ask, session: &Session) {
        let sent = clock::boottime();
        let answer = self.ask(ask, session).await;
        let now = clock::boottime();
        match answer {
            Ok(told) => self.rules.told(ask, sent, now, told),
            Err(error) => {
                tracing::debug!("a lease was not answered for: {error}");
                self.rules.unanswered(now);
            }
        }
        self.publish();
    }

    async fn ask(&self, ask: &Ask, session: &Session) -> Result<Told, FleetError> {
        let (verb, proof) = match ask {
            Ask::Contend { unchanged } => ("contend", unchanged.clone().unwrap_or_default()),
            Ask::Renew { token } => ("renew", token.to_string()),
            Ask::Release { token } => ("release", token.to_string()),
        };
        let mut command = cmd("EVAL");
        command
            .arg(include_str!("lease.lua"))
            .arg(2)
            .arg(&self.key)
            .arg(&self.inner.keys.token)
            .arg(verb)
            .arg(proof)
            .arg(random::name())
            .arg(&session.run_id)
            .arg(&self.inner.me.0);
        let (word, value): (String, String) = session.ask(&command).await?;
        match word.as_str() {
            "held" => match value.parse() {
                Ok(token) => Ok(Told::Held { token }),
                Err(_) => Err(FleetError::Payload(value)),
            },
            "released" => Ok(Told::Released),
            _ => Ok(Told::Others { mark: value }),
        }
    }

    fn publish(&mut self) {
        let hold = self.rules.held(clock::boottime());
        match (&hold, &self.counted) {
            (Some(_), None) => self.counted = Some(Count::one_more(&self.counter)),
            (None, Some(_)) => self.counted = None,
            _ => {}
        }
        self.hold.send_if_modified(|published| {
            let changed = *published != hold;
            *published = hold;
            changed
        });
    }

    /// Whoever dropped the handle has stopped, so another one need not wait.
    async fn give_back(&mut self) {
        let Some(hold) = self.rules.held(clock::boottime()) else {
            return;
        };
        self.hold.send_replace(None);
        let release = Ask::Release { token: hold.token };
        if let Ok(session) = self.inner.link.session() {
            let _ = timeout(GOODBYE, self.ask(&release, &session)).await;
        }
    }
}
