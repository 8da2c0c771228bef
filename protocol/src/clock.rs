//! The one clock of the protocol: `CLOCK_MONOTONIC` in milliseconds.
//!
//! All processes of a host read the same monotonic clock, so moments in events and logs can be compared
//! across processes, and no step of the wall clock disturbs a deadline.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since an arbitrary start (on Linux: since boot, without time in suspend).
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// As [`monotonic`], up to ten milliseconds behind it and several times cheaper: the time of the kernel's last
/// tick. For what happens with every request.
pub fn coarse() -> Duration {
    read(ClockId::MonotonicCoarse)
}

/// As [`monotonic`], with the time in suspend: what passed while nobody ran.
pub fn boottime() -> Duration {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Serializes a [`Duration`] as whole milliseconds: `#[serde(with = "hatchery_protocol::clock::as_millis")]`.
pub mod as_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes whole milliseconds.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(super::millis(*value))
    }

    /// Reads whole milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
