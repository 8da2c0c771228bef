//! Tables of what each operation does, and a model that it is compared with over random ones.

use std::collections::BTreeMap;

use hatchery_protocol::child::state::{ENTRY, MAX_BYTES, MAX_KEY, MAX_KEYS, MAX_VALUE};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const EPOCH: Epoch = Epoch(7);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn request(key: &str, operation: Operation) -> Request {
    Request {
        key: key.into(),
        operation,
        expiry_ms: None,
        epoch: None,
        until_ms: u64::MAX,
    }
}

fn expiring(key: &str, operation: Operation, after: u64) -> Request {
    Request {
        expiry_ms: Some(after),
        ..request(key, operation)
    }
}

fn set(key: &str, value: &Value) -> Request {
    request(key, Operation::Set(raw(value)))
}

fn get(key: &str) -> Request {
    request(key, Operation::Get)
}

fn add(key: &str, by: i64) -> Request {
    request(key, Operation::Add(by))
}

fn swap(key: &str, expected: Option<&Value>, new: Option<&Value>) -> Request {
    let (expected, new) = (expected.map(raw), new.map(raw));
    request(key, Operation::CompareAndSet { expected, new })
}

/// An outcome that can be compared and read.
fn perform(store: &mut Store, now: u64, request: Request) -> Result<Value, Rejection> {
    let outcome = store.perform(ms(now), request).outcome?;
    store.entries.check();
    Ok(match outcome {
        Done::Yes => json!("yes"),
        Done::No => json!("no"),
        Done::Number(number) => json!(number),
        Done::Value(None) => json!(null),
        Done::Value(Some(value)) => json!([serde_json::from_str::<Value>(value.get()).unwrap()]),
    })
}

/// Each step after the others: when, what, and what comes of it.
fn steps(steps: Vec<(u64, Request, Result<Value, Rejection>)>) {
    let mut store = Store::new(EPOCH);
    for (step, (now, request, expected)) in steps.into_iter().enumerate() {
        assert_eq!(perform(&mut store, now, request), expected, "step {step}");
    }
}

#[test]
fn values() {
    let (first, second) = (json!({"a": 1, "b": [2]}), json!("x"));
    steps(vec![
        (0, get("k"), Ok(json!(null))),
        (0, set("k", &first), Ok(json!("yes"))),
        (0, get("k"), Ok(json!([first]))),
        (0, get("other"), Ok(json!(null))),
        (0, set("k", &second), Ok(json!("yes"))),
        (0, get("k"), Ok(json!([second]))),
        (0, request("k", Operation::Remove), Ok(json!("yes"))),
        (0, request("k", Operation::Remove), Ok(json!("no"))),
        (0, get("k"), Ok(json!(null))),
        (0, set("k", &second), Ok(json!("yes"))),
        (0, set("k", &json!(null)), Ok(json!("yes"))),
        (0, get("k"), Ok(json!(null))),
    ]);
}

#[test]
fn counters() {
    steps(vec![
        (0, add("n", 2), Ok(json!(2))),
        (0, add("n", -5), Ok(json!(-3))),
        (0, get("n"), Ok(json!([-3]))),
        (0, set("n", &json!(i64::MAX)), Ok(json!("yes"))),
        (0, add("n", 1), Err(Rejection::Overflow)),
        (0, get("n"), Ok(json!([i64::MAX]))),
        (0, set("n", &json!(1.5)), Ok(json!("yes"))),
        (0, add("n", 1), Err(Rejection::NotANumber)),
        (0, set("n", &json!("1")), Ok(json!("yes"))),
        (0, add("n", 1), Err(Rejection::NotANumber)),
        (0, add("", 1), Err(Rejection::KeyEmpty)),
    ]);
}

#[test]
fn comparisons() {
    let (one, two) = (json!({"a": 1, "b": 2}), json!(2));
    // Another process may write the fields in another order.
    let same = RawValue::from_string(r#"{"b":2, "a":1}"#.into()).unwrap();
    let same = Operation::CompareAndSet {
        expected: Some(same),
        new: Some(raw(&two)),
    };
    steps(vec![
        (0, swap("k", Some(&one), Some(&two)), Ok(json!(null))),
        (0, swap("k", None, Some(&one)), Ok(json!("yes"))),
        (0, swap("k", None, Some(&two)), Ok(json!([one]))),
        (0, swap("k", Some(&two), None), Ok(json!([one]))),
        (0, request("k", same), Ok(json!("yes"))),
        (0, get("k"), Ok(json!([two]))),
        (0, swap("k", Some(&two), None), Ok(json!("yes"))),
        (0, get("k"), Ok(json!(null))),
        (0, swap("k", Some(&json!(null)), None), Ok(json!("yes"))),
        (0, swap("", None, None), Err(Rejection::KeyEmpty)),
    ]);
}

#[test]
fn expiry() {
    let one = json!(1);
    steps(vec![
        (
            0,
            expiring("k", Operation::Set(raw(&one)), 10),
            Ok(json!("yes")),
        ),
        (9, get("k"), Ok(json!([1]))),
        (10, get("k"), Ok(json!(null))),
        // Set again without one, it has none.
        (
            10,
            expiring("k", Operation::Set(raw(&one)), 10),
            Ok(json!("yes")),
        ),
        (15, set("k", &one), Ok(json!("yes"))),
        (100, get("k"), Ok(json!([1]))),
        // A counter has the one that it began with.
        (100, expiring("n", Operation::Add(1), 10), Ok(json!(1))),
        (105, expiring("n", Operation::Add(1), 10), Ok(json!(2))),
        (109, add("n", 1), Ok(json!(3))),
        (110, add("n", 1), Ok(json!(1))),
        (1000, get("n"), Ok(json!([1]))),
        // What has expired is no value to a comparison.
        (
            1000,
            expiring("lock", Operation::Set(raw(&one)), 10),
            Ok(json!("yes")),
        ),
        (1009, swap("lock", None, Some(&one)), Ok(json!([1]))),
        (1010, swap("lock", None, Some(&one)), Ok(json!("yes"))),
        (
            1010,
            expiring("k", Operation::Add(1), 0),
            Err(Rejection::Expiry),
        ),
        // Longer than time goes on is for ever.
        (
            1010,
            expiring("k", Operation::Set(raw(&one)), u64::MAX),
            Ok(json!("yes")),
        ),
        (u64::MAX, get("k"), Ok(json!([1]))),
    ]);
}

#[test]
fn neither_late_nor_in_another_epoch() {
    let late = Request {
        until_ms: 9,
        ..add("n", 1)
    };
    let in_time = Request {
        until_ms: 10,
        ..add("n", 1)
    };
    let meant = Request {
        epoch: Some(EPOCH),
        ..add("n", 1)
    };
    let other = Request {
        epoch: Some(Epoch(8)),
        ..add("n", 1)
    };
    steps(vec![
        (10, late, Err(Rejection::Late)),
        (10, in_time, Ok(json!(1))),
        (10, meant, Ok(json!(2))),
        (10, other, Err(Rejection::Epoch(EPOCH))),
        (10, get("n"), Ok(json!([2]))),
    ]);
}

#[test]
fn sizes() {
    let (key, value) = ("k".repeat(MAX_KEY), "v".repeat(MAX_VALUE - 2));
    let (long, large) = ("k".repeat(MAX_KEY + 1), "v".repeat(MAX_VALUE - 1));
    steps(vec![
        (0, set(&key, &json!(value)), Ok(json!("yes"))),
        (
            0,
            set(&long, &json!(1)),
            Err(Rejection::KeyTooLong(MAX_KEY + 1)),
        ),
        (
            0,
            set(&key, &json!(large)),
            Err(Rejection::ValueTooLarge(MAX_VALUE + 1)),
        ),
        (0, get(&key), Ok(json!([value]))),
    ]);
}

#[test]
fn a_full_state_takes_nothing_more_but_what_replaces_something() {
    let mut store = Store::new(EPOCH);
    let value = json!("v".repeat(MAX_VALUE - 2));
    let most = MAX_BYTES / (MAX_VALUE + ENTRY + 5);
    for key in 0..most {
        let set = set(&format!("{key:05}"), &value);
        assert_eq!(perform(&mut store, 0, set), Ok(json!("yes")));
    }
    assert_eq!(
        perform(&mut store, 0, set("more.", &value)),
        Err(Rejection::Full)
    );
    assert_eq!(perform(&mut store, 0, get("more.")), Ok(json!(null)));
    assert_eq!(
        perform(&mut store, 0, set("00000", &value)),
        Ok(json!("yes"))
    );
    let remove = request("00001", Operation::Remove);
    assert_eq!(perform(&mut store, 0, remove), Ok(json!("yes")));
    assert_eq!(
        perform(&mut store, 0, set("more.", &value)),
        Ok(json!("yes"))
    );
}

#[test]
fn no_more_keys_than_allowed() {
    let mut store = Store::new(EPOCH);
    for key in 0..MAX_KEYS {
        let answer = store.perform(ms(0), expiring(&key.to_string(), Operation::Add(1), 10));
        assert!(answer.outcome.is_ok());
    }
    assert_eq!(
        perform(&mut store, 0, add("one more", 1)),
        Err(Rejection::TooManyKeys)
    );
    assert_eq!(perform(&mut store, 0, add("0", 1)), Ok(json!(2)));
    assert_eq!(perform(&mut store, 10, add("one more", 1)), Ok(json!(1)));
}

/// A random operation on one of three keys.
fn operation() -> impl Strategy<Value = (&'static str, u8, i64, i64, Option<u64>)> {
    let key = prop::sample::select(vec!["a", "b", "c"]);
    (key, 0..5u8, -2..3i64, -2..3i64, prop::option::of(1..20u64))
}

proptest! {
    /// The same as a map that knows of no limits and looks through all of itself for what has expired.
    #[test]
    fn as_a_simple_map(steps in prop::collection::vec((0..8u64, operation()), 0..80)) {
        let mut store = Store::new(EPOCH);
        let mut model: BTreeMap<&str, (i64, Option<u64>)> = BTreeMap::new();
        let mut now = 0;
        for (passed, (key, what, a, b, expiry)) in steps {
            now += passed;
            model.retain(|_, (_, expires)| expires.is_none_or(|expires| expires > now));
            let had = model.get(key).copied();
            let expires = expiry.map(|after| now + after);
            let shown = |had: Option<(i64, Option<u64>)>| {
                had.map_or(json!(null), |(value, _)| json!([value]))
            };
            let (operation, expected) = match what {
                0 => (Operation::Get, shown(had)),
                1 => {
                    model.insert(key, (a, expires));
                    (Operation::Set(raw(&json!(a))), json!("yes"))
                }
                2 => {
                    let (old, kept) = had.unwrap_or((0, expires));
                    model.insert(key, (old + a, kept));
                    (Operation::Add(a), json!(old + a))
                }
                3 => {
                    let fits = had.map(|(value, _)| value) == Some(a);
                    if fits {
                        model.insert(key, (b, expires));
                    }
                    let (expected, new) = (Some(raw(&json!(a))), Some(raw(&json!(b))));
                    let swap = Operation::CompareAndSet { expected, new };
                    (swap, if fits { json!("yes") } else { shown(had) })
                }
                _ => {
                    let removed = model.remove(key).is_some();
                    (Operation::Remove, json!(if removed { "yes" } else { "no" }))
                }
            };
            let request = Request { expiry_ms: expiry, ..request(key, operation) };
            prop_assert_eq!(perform(&mut store, now, request), Ok(expected));
        }
    }
}
