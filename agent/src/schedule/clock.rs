//! The clocks of this machine, and word of anybody who sets one.

use std::io;
use std::os::fd::OwnedFd;

use hatchery_protocol::child::watched;
use hatchery_protocol::clock::boottime;
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::tick::Moment;

/// A time that no schedule sees, in seconds since 1970. Later ones do not fit into the kernel's nanoseconds.
const NEVER: i64 = 7_000_000_000;

/// Now.
pub(super) fn now() -> Moment {
    Moment {
        wall: Timestamp::now(),
        boot: boottime(),
    }
}

/// A timer that is there for its cancellation: the kernel does that whenever the wall clock is set, and when the
/// machine wakes up.
#[derive(Debug)]
pub(super) struct ClockWatch(AsyncFd<OwnedFd>);

impl ClockWatch {
    /// To be called on the runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let zero = Timespec::default();
        let never = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: NEVER,
                tv_nsec: 0,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&timer, flags, &never)?;
        watched(timer, Interest::READABLE).map(Self)
    }

    /// Waits until the clock is set. What happens between two calls is not missed.
    pub(super) async fn set(&self) {
        // An error is the end of the runtime.
        while let Ok(mut guard) = self.0.readable().await {
            let read = rustix::io::read(guard.get_inner(), &mut [0_u8; 8]);
            guard.clear_ready();
            if matches!(read, Err(Errno::CANCELED)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Setting the clock takes a machine of one's own; that it is quiet otherwise does not.
    #[tokio::test]
    async fn a_clock_that_nobody_sets_is_quiet() {
        let watch = ClockWatch::new().unwrap();
        let set = tokio::time::timeout(Duration::from_millis(50), watch.set()).await;
        assert!(set.is_err());
        let before = now();
        let after = now();
        assert!(after.boot >= before.boot);
    }
}
