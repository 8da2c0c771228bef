//! The link to Redis: made, watched, made again.
//!
//! One task of the agent's. While a session lasts, it takes in messages and says every few seconds that this
//! member is there; each time it also sends itself a message, for a connection for messages that has died in
//! silence looks like one on which nothing happens.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hatchery_protocol::boot::FleetBoot;
use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::fleet::LinkTrouble;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::connect::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT, connect};
use super::envelope::Kind;
use super::presence::{self, BEAT};
use super::session::Session;
use super::{ConnectError, FleetError, Inner, random};

/// After the first failure. Each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A session that lasted so long was a good one: what follows is a first failure.
const GOOD: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
pub(super) const GOODBYE: Duration = Duration::from_millis(500);
const LEAVES: &str = "this member leaves";

/// What is known of the connection.
#[derive(Clone)]
pub(super) enum Current {
    Up(Session),
    /// With the reason.
    Down(String),
    /// For good.
    Left,
}

/// Where everybody finds the session.
pub(super) struct Link {
    current: watch::Sender<Current>,
    /// This member's message to itself has come.
    pub(super) echoed: Notify,
    /// Says goodbye, and makes no connection any more.
    pub(super) stop: CancellationToken,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            current: watch::Sender::new(Current::Down("not connected yet".to_owned())),
            echoed: Notify::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn session(&self) -> Result<Session, FleetError> {
        match &*self.current.borrow() {
            Current::Up(session) => Ok(session.clone()),
            Current::Down(_) | Current::Left => Err(FleetError::Disconnected),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }
}

/// Lives until it is told to stop.
pub(super) async fn run(inner: Arc<Inner>, boot: FleetBoot) {
    let mut sessions = 0;
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let began = Instant::now();
        let reached = tokio::select! {
            reached = reach(&inner, &boot, &mut sessions) => reached,
            () = inner.link.stop.cancelled() => break,
        };
        let (reason, trouble) = match reached {
            Ok(reached) => {
                told.clear();
                let reason = serve(&inner, reached).await;
                inner.counters.count_loss();
                (reason, LinkTrouble::Lost)
            }
            Err(error) => (error.to_string(), error.kind()),
        };
        if inner.link.stop.is_cancelled() {
            break;
        }
        // The same again and again says nothing new.
        if reason != told {
            tracing::warn!("the fleet is out of reach: {reason}");
            told.clone_from(&reason);
        }
        inner.counters.set_disconnected(trouble);
        inner.link.current.send_replace(Current::Down(reason));
        if began.elapsed() >= GOOD {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(random::part_of(pause)) => {}
            () = inner.link.stop.cancelled() => break,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    inner.link.current.send_replace(Current::Left);
}

struct Reached {
    session: Session,
    // Kept: the subscriptions end with it.
    _sink: PubSubSink,
    stream: PubSubStream,
}

async fn reach(
    inner: &Arc<Inner>,
    boot: &FleetBoot,
    sessions: &mut u64,
) -> Result<Reached, ConnectError> {
    let made = connect(boot).await?;
    let (mut sink, stream) = made.messages.split();
    let unreachable = |reason: String| ConnectError::Unreachable {
        address: boot.address.clone(),
        reason,
    };
    let inbox = inner.keys.inbox(&inner.me.0);
    for channel in [&inner.keys.everybody, &inbox] {
        match timeout(CONNECT_TIMEOUT, sink.subscribe(channel)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.code() == Some("NOPERM") => {
                return Err(ConnectError::Forbidden {
                    address: boot.address.clone(),
                    code: "NOPERM".to_owned(),
                });
            }
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable("no answer in time".to_owned())),
        }
    }
    *sessions += 1;
    let session = Session::new(made.commands, made.run_id, *sessions);
    Ok(Reached {
        session,
        _sink: sink,
        stream,
    })
}

/// Until the session is over. Says why it is.
async fn serve(inner: &Arc<Inner>, reached: Reached) -> String {
    let session = reached.session.clone();
    let reason = tokio::select! {
        reason = attend(inner, reached) => reason,
        () = inner.link.stop.cancelled() => LEAVES,
    };
    if inner.link.stop.is_cancelled() {
        // Whoever asks now is a member no more.
        inner
            .link
            .current
            .send_replace(Current::Down(LEAVES.to_owned()));
        // A sign of life may be on its way. The goodbye takes the same connection, so it comes later than that.
        let goodbye = presence::vanish(&session, &inner.keys, &inner.me);
        let _ = timeout(GOODBYE, goodbye).await;
    }
    session.end();
    reason.to_owned()
}

/// Shows this member, and takes in what comes.
async fn attend(inner: &Arc<Inner>, mut reached: Reached) -> &'static str {
    let session = &reached.session;
    // A member that is seen can be talked to, so the first sign of life comes before calls get through.
    let first = presence::appear(session, &inner.keys, &inner.describe()).await;
    if let Err(error @ (FleetError::Disconnected | FleetError::Unanswered)) = &first {
        tracing::debug!("the fleet's Redis took no sign of life: {error}");
        return "Redis answers, but takes no sign of life";
    }
    tracing::info!(session = session.number, "the fleet is in reach");
    inner.counters.set_connected();
    inner.counters.set_seen(first);
    inner
        .link
        .current
        .send_replace(Current::Up(session.clone()));
    let messages = async {
        while let Some(message) = reached.stream.next().await {
            inner.receive(message.get_payload_bytes());
        }
    };
    tokio::select! {
        () = messages => "the connection for messages was closed",
        reason = beat(inner, session) => reason,
        () = session.ended() => "the connection was lost, or Redis stopped to answer",
    }
}

/// Says again and again that this member is there, and that it can hear itself.
async fn beat(inner: &Arc<Inner>, session: &Session) -> &'static str {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let inbox = inner.keys.inbox(&inner.me.0);
    let mut told = None;
    loop {
        ticks.tick().await;
        let appeared = presence::appear(session, &inner.keys, &inner.describe()).await;
        // A lost connection ends the session by itself. The rest is no reason to end one: messages go on.
        let trouble = appeared.as_ref().err().cloned();
        if trouble != told {
            if let Some(error) = &trouble {
                tracing::warn!("this member cannot be seen in the fleet: {error}");
            } else {
                tracing::info!("this member can be seen in the fleet again");
            }
            told.clone_from(&trouble);
        }
        inner.counters.set_seen(appeared);
        let sent = inner.publish(&inbox, Kind::Echo, b"").await;
        if sent.is_ok()
            && timeout(RESPONSE_TIMEOUT, inner.link.echoed.notified())
                .await
                .is_err()
        {
            return "the connection for messages is silent";
        }
    }
}
