//! The one place that waits.

use std::time::{Duration, Instant};

/// How long anything may take that has no time of its own to keep. Generous on purpose: a machine with
/// other work to do must not make a test fail, and a test that passes never waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How late a machine may be that is busy with other things.
pub const LATE: Duration = Duration::from_secs(6);

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A pause that takes so long was not this program's: the machine stood still, as a guest does that is paused.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Looks again and again until there is something to see. `None` when the time is over, in which nobody else could do
/// anything either while the machine stood still.
pub fn until<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut deadline = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        let paused = Instant::now();
        std::thread::sleep(PAUSE);
        let gap = paused.elapsed();
        if gap > STOOD_STILL {
            eprintln!("this machine stood still for {gap:?}");
            deadline += gap;
        }
    }
}

/// As [`until`], for a condition; panics with `what` when it does not come true in [`PATIENCE`].
#[track_caller]
pub fn expect(what: &str, mut condition: impl FnMut() -> bool) {
    let seen = until(PATIENCE, || condition().then_some(()));
    assert!(seen.is_some(), "{what}: not within {PATIENCE:?}");
}

/// Lets time pass in which a fault lasts, or something must not happen. Never a wait for something.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Does `work` over and over for `time`. For what is only harmful, or harmless, if it lasts.
pub fn meanwhile(time: Duration, mut work: impl FnMut()) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        work();
    }
}

/// Lets exactly this much time pass: the moment of an injected fault, never a wait for something.
pub fn moment(time: Duration) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// As [`pass`], for a task.
pub async fn pass_in_task(time: Duration) {
    tokio::time::sleep(time).await;
}
