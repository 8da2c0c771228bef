//! The task that answers followers.

use std::time::Duration;

use hatchery_protocol::child::Context;
use hatchery_protocol::child::follower::Refusal;
use hatchery_protocol::child::follower::wire::{Answer, Request, TOPIC, Wish};
use hatchery_protocol::child::messenger::{Message, ReplyError, Subscription, TopicError};
use hatchery_protocol::clock::monotonic;
use tokio::task::JoinSet;

use super::Leaders;

/// How many keys of followers may be waited for at a time.
const MAX_FOLLOWING: usize = 65_536;

/// How many calls may be under way. Apart from those: an author's code that never returns must not end all following.
const MAX_CALLS: usize = 4096;

/// Answers followers until the runtime ends. To be called on the runtime.
pub(crate) fn serve(context: Context, leaders: Leaders) -> Result<(), TopicError> {
    let requests = context.messenger().reserved().subscribe(TOPIC)?;
    tokio::spawn(answer_all(requests, context, leaders));
    Ok(())
}

async fn answer_all(mut requests: Subscription, context: Context, leaders: Leaders) {
    let (mut following, mut calls) = (JoinSet::new(), JoinSet::new());
    while let Some(message) = requests.next().await {
        while following.try_join_next().is_some() {}
        while calls.try_join_next().is_some() {}
        let request = match message.json::<Request>() {
            Ok(request) => request,
            // Only another build of this crate asks what cannot be read.
            Err(error) => {
                calls.spawn(async move {
                    let _ = message.refuse(error.to_string()).await;
                });
                continue;
            }
        };
        let (under_way, most) = match &request.wish {
            Wish::Follow { .. } => (&mut following, MAX_FOLLOWING),
            Wish::Publish { .. } | Wish::Invoke { .. } => (&mut calls, MAX_CALLS),
        };
        // Dropped, it is answered so.
        if under_way.len() < most {
            under_way.spawn(answer(message, request, context.clone(), leaders.clone()));
        }
    }
}

async fn answer(message: Message, request: Request, context: Context, leaders: Leaders) {
    let leader = request.leader.clone();
    let answer = grant(request, &context, &leaders).await;
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
