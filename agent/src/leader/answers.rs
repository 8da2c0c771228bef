//! The task that answers followers.

use std::time::Duration;

use hatchery_protocol::child::Context;
use hatchery_protocol::child::follower::Refusal;
use hatchery_protocol::child::follower::wire::{Answer, Request, TOPIC, Wish};
use hatchery_protocol::child::messenger::{Message, ReplyError, Subscription, TopicError};
use hatchery_protocol::clock::monotonic;
use tokio::task::JoinSet;

use super::Leaders;

/// How many questions may be under way: a key that somebody follows is one.
const MAX_UNDER_WAY: usize = 65_536;

/// Answers followers until the runtime ends. To be called on the runtime.
pub(crate) fn serve(context: Context, leaders: Leaders) -> Result<(), TopicError> {
    let requests = context.messenger().reserved().subscribe(TOPIC)?;
    tokio::spawn(answer_all(requests, context, leaders));
    Ok(())
}

async fn answer_all(mut requests: Subscription, context: Context, leaders: Leaders) {
    let mut under_way = JoinSet::new();
    while let Some(message) = requests.next().await {
        while under_way.try_join_next().is_some() {}
        // Dropped, it is answered so.
        if under_way.len() < MAX_UNDER_WAY {
            under_way.spawn(answer(message, context.clone(), leaders.clone()));
        }
    }
}

async fn answer(message: Message, context: Context, leaders: Leaders) {
    let (leader, answer) = match message.json::<Request>() {
        Ok(request) => (
            request.leader.clone(),
            grant(request, &context, &leaders).await,
        ),
        // Only another build of this crate asks what cannot be read.
        Err(error) => {
            let _ = message.refuse(error.to_string()).await;
            return;
        }
    };
    let replied = match message.reply(&answer).await {
        Err(ReplyError::Send(error)) => {
            let reason = error.to_string();
            let failed: Answer = Err(Refusal::Failed { leader, reason });
            message.reply(&failed).await
        }
        replied => replied,
    };
    if let Err(error) = replied {
        tracing::debug!("{} does not hear of its leader: {error}", message.from);
    }
}

async fn grant(request: Request, context: &Context, leaders: &Leaders) -> Answer {
    let within = Duration::from_millis(request.until_ms).checked_sub(monotonic());
    let within = within.ok_or(Refusal::Late)?;
    let led = leaders.find(&request.leader)?;
    let is_open_ended = matches!(request.wish, Wish::Follow { .. });
    tokio::select! {
        answer = led.grant(request.wish, within) => answer,
        // Followers are to go on with the next agent; calls end by themselves.
        () = context.standing_down().cancelled(), if is_open_ended => Err(Refusal::Leaving),
    }
}
