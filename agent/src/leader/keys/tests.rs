//! Keys are taken on once, and again only when that failed.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use async_trait::async_trait;
use hatchery_protocol::child::BoxError;
use serde_json::{Value, json};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Puts how often it was asked; `bad` keys fail at first.
#[derive(Default)]
struct Counting(AtomicU32);

#[async_trait]
impl Leader for Counting {
    async fn subscribe(&self, key: &str, feed: Feed) -> Result<(), BoxError> {
        tokio::time::sleep(SECOND).await;
        let count = self.0.fetch_add(1, Relaxed) + 1;
        if key == "bad" && count == 1 {
            return Err("not yet".into());
        }
        Ok(feed.put(&count)?)
    }

    async fn invoke(&self, method: &str, argument: Value) -> Result<Value, BoxError> {
        Ok(json!([method, argument]))
    }
}

fn led() -> Arc<Led> {
    let leaders = Leaders::default();
    leaders.add("x", Box::new(Counting::default())).unwrap();
    leaders.find("x").unwrap()
}

fn follow(key: &str) -> Wish {
    let key = key.into();
    Wish::Follow { key, seen: None }
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

/// The value that a follower is told.
fn value(said: Result<Said, Refusal>) -> String {
    match said {
        Ok(Said::Value(_, value)) => value.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_taken_on_once() {
    let led = led();
    let (one, two) = tokio::join!(
        led.grant(follow("k"), 2 * SECOND),
        led.grant(follow("k"), 2 * SECOND)
    );
    assert_eq!((value(one), value(two)), ("1".into(), "1".into()));
    assert_eq!(value(led.grant(follow("k"), 2 * SECOND).await), "1");
    assert_eq!(value(led.grant(follow("other"), 2 * SECOND).await), "2");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_failed_is_tried_again() {
    let led = led();
    let refused = led.grant(follow("bad"), 2 * SECOND).await;
    let failed = Refusal::Failed {
        leader: "x".into(),
        reason: "not yet".into(),
    };
    assert_eq!(refused.unwrap_err(), failed);
    assert!(lock(&led.keys).is_empty(), "it takes no place");
    assert_eq!(value(led.grant(follow("bad"), 2 * SECOND).await), "2");
}

/// Whoever asks gives up and asks again; the leader goes on with what it was asked first.
#[tokio::test(start_paused = true)]
async fn a_leader_that_takes_its_time_is_asked_once() {
    let led = led();
    for _ in 0..3 {
        let said = led.grant(follow("k"), SECOND / 4).await.unwrap();
        assert!(matches!(said, Said::Unchanged), "{said:?}");
    }
    assert_eq!(value(led.grant(follow("k"), SECOND).await), "1");
}

#[tokio::test(start_paused = true)]
async fn keys_are_limited() {
    let led = led();
    for key in 0..MAX_KEYS {
        led.key(&key.to_string()).unwrap();
    }
    led.key("0").unwrap();
    let refused = led.grant(follow("one more"), SECOND).await.unwrap_err();
    assert_eq!(refused, Refusal::TooManyKeys("x".into()));
}

#[tokio::test]
async fn calls_reach_the_leader_and_come_back() {
    let led = led();
    let invoke = Wish::Invoke {
        method: "m".into(),
        argument: raw("{\"a\":1}"),
    };
    match led.grant(invoke, SECOND).await {
        Ok(Said::Returned(value)) => assert_eq!(value.get(), "[\"m\",{\"a\":1}]"),
        other => panic!("{other:?}"),
    }
    let publish = Wish::Publish {
        key: "k".into(),
        value: raw("1"),
    };
    let refused = led.grant(publish, SECOND).await.unwrap_err();
    assert!(refused.to_string().contains("nothing can be published"));
}

#[test]
fn names_are_taken_once() {
    let leaders = Leaders::default();
    let add = |name: &str| leaders.add(name, Box::new(Counting::default()));
    assert_eq!(add(""), Err(LeadError::Empty));
    assert_eq!(add("x"), Ok(()));
    assert_eq!(add("x"), Err(LeadError::Taken("x".into())));
    assert_eq!(leaders.find("y").err(), Some(Refusal::NoLeader("y".into())));
}
