//! How long a call may take.

use std::sync::Arc;

use tokio::time::Instant;

use super::*;
use crate::child::messenger::{Office, Peer};
use crate::id::Seat;
use crate::post::Limits;

/// A process that is never told to begin, so nobody ever answers.
fn alone() -> Messenger {
    let me = Peer {
        incarnation: 1,
        seat: Seat::Worker(0),
        pid: 10,
    };
    Messenger::new(Arc::new(Office::new(me, Limits::default())))
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_it_may_and_no_longer() {
    let follower = Follower::new(&alone(), "settings");
    let short = Duration::from_millis(50);
    let long = Duration::from_secs(60);
    let cases = [
        (follower.clone(), DEADLINE),
        (follower.within(short), short),
        (follower.within(short).within(long), long),
        // The one it was made of is as it was.
        (follower, DEADLINE),
    ];
    for (follower, deadline) in cases {
        let begun = Instant::now();
        let called = follower.invoke::<_, u32>("keys", &()).await.unwrap_err();
        let took = begun.elapsed();
        let published = follower.publish("banner", "x").await.unwrap_err();
        for error in [called, published] {
            let is_late = |why: &RequestError| matches!(why, RequestError::Timeout);
            assert!(
                matches!(&error, FollowError::Unknown(why) if is_late(why)),
                "{error}"
            );
        }
        let slack = Duration::from_millis(2);
        assert!((deadline..deadline + slack).contains(&took), "{took:?}");
        let both = begun.elapsed();
        assert!((2 * deadline..2 * (deadline + slack)).contains(&both));
    }
}
