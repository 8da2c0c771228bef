//! The state that all processes of the cluster share: the side that holds it.
//!
//! | file | idea |
//! |---|---|
//! | `entries` | keys and values, their limits and their expiry; pure |
//! | `store` | what an operation does; pure |
//! | here | the task that answers |

mod entries;
mod store;

use hatchery_protocol::child::messenger::{Message, Subscription, TopicError};
use hatchery_protocol::child::state::wire::{Epoch, Request, TOPIC};
use hatchery_protocol::child::{BoxError, Messenger};
use hatchery_protocol::clock::monotonic;
use tokio::task::JoinSet;

use store::Store;

/// How many answers may wait for room: a process that stands still takes none.
const MAX_WAITING: usize = 4096;

/// Begins an empty state, and answers whoever uses it until the runtime ends. To be called on the runtime.
pub(crate) fn serve(messenger: &Messenger) -> Result<(), TopicError> {
    let requests = messenger.reserved().subscribe(TOPIC)?;
    // Two agents of one host never begin in the same nanosecond.
    let begun = u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX);
    tokio::spawn(answer_all(requests, Store::new(Epoch(begun))));
    Ok(())
}

async fn answer_all(mut requests: Subscription, mut store: Store) {
    let mut waiting = JoinSet::new();
    while let Some(message) = requests.next().await {
        while waiting.try_join_next().is_some() {}
        if waiting.len() >= MAX_WAITING {
            // Not done, and whoever asked hears that there is no answer.
            continue;
        }
        match message.json::<Request>() {
            Ok(request) => {
                let answer = store.perform(monotonic(), request);
                // Apart: somebody without room for answers must not keep others from theirs.
                waiting.spawn(async move {
                    if let Err(error) = message.reply(&answer).await {
                        tracing::debug!("{} does not hear of its state: {error}", message.from);
                    }
                });
            }
            Err(error) => {
                waiting.spawn(refuse(message, error.into()));
            }
        }
    }
}

/// Only another build of this crate asks what cannot be read.
async fn refuse(message: Message, why: BoxError) {
    let _ = message.refuse(why.to_string()).await;
}
