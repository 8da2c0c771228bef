//! Where an author puts a key's values.

use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::child::follower::wire::Version;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::watch;
use tokio::time::timeout;

type Last = Option<(Version, Arc<RawValue>)>;

/// Where the values of one key go: the last one is kept, and everybody who follows the key gets it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    /// When the leader began.
    epoch: u64,
    values: watch::Sender<Last>,
}

impl Feed {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            values: watch::Sender::new(None),
        }
    }

    /// The key has this value now.
    ///
    /// # Errors
    ///
    /// It cannot be written as JSON.
    pub fn put<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), serde_json::Error> {
        let value: Arc<RawValue> = to_raw_value(value)?.into();
        self.values.send_modify(|last| {
            let number = last.as_ref().map_or(1, |(version, _)| version.1 + 1);
            *last = Some((Version(self.epoch, number), value));
        });
        Ok(())
    }

    /// Waits for a value that is not this one. `None`: there is none in time.
    pub(super) async fn other_than(&self, seen: Option<Version>, within: Duration) -> Last {
        let mut values = self.values.subscribe();
        let is_other = |last: &Last| {
            last.as_ref()
                .is_some_and(|(version, _)| Some(*version) != seen)
        };
        let other = timeout(within, values.wait_for(is_other)).await;
        other.ok()?.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_last_value_is_kept_for_whoever_has_not_seen_it() {
        let feed = Feed::new(7);
        assert!(feed.other_than(None, SECOND).await.is_none());
        feed.put("a").unwrap();
        feed.put("b").unwrap();
        let (version, value) = feed.other_than(None, SECOND).await.unwrap();
        assert_eq!((version, value.get()), (Version(7, 2), "\"b\""));
        assert!(feed.other_than(Some(version), SECOND).await.is_none());
        // Another agent's leader may have come as far.
        let other = feed.other_than(Some(Version(6, 2)), SECOND).await;
        assert_eq!(other.unwrap().0, version);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_the_next_value() {
        let feed = Feed::new(7);
        let putting = feed.clone();
        let other = feed.other_than(None, SECOND);
        let put = async move {
            tokio::time::sleep(SECOND / 2).await;
            putting.put(&1).unwrap();
        };
        let (other, ()) = tokio::join!(other, put);
        assert_eq!(other.unwrap().0, Version(7, 1));
    }
}
