//! Model children: what they say and when they die, good ones and bad ones.

use std::time::Duration;

use hatchery_master::supervisor::{Now, Policy, Status};

use crate::rng::Rng;
use crate::scenario::Pace;

/// A process that exists.
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// What it said is delivered in order: nothing before this.
    pub(crate) delivered: Now,
    /// Acts of an older script than this are not performed any more.
    pub(crate) script: u32,
    pub(crate) was_ready: bool,
    /// It did something a good child does not do.
    pub(crate) spoiled: bool,
    /// It was asked or forced to leave.
    pub(crate) leaving: bool,
    /// Since when its runtime does nothing, and whether the process does not answer either.
    pub(crate) hangs: Option<(Now, bool)>,
    /// What it has served.
    pub(crate) requests: u64,
}

/// Something a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    SayReady,
    SayFailed,
    BreakLink,
    /// From now on its runtime does nothing; perhaps its process does not answer either.
    Hang {
        frozen: bool,
    },
    StandDown,
    Beat,
    Die(Status),
}

/// What a child is going to do, each act so long after the previous one.
pub(crate) type Script = Vec<(Duration, Act)>;

const CRASH: Act = Act::Die(Status::Signal(11));
const LEAVE: Act = Act::Die(Status::Code(0));
const FAIL: Act = Act::Die(Status::Code(1));

/// A moment as short as an accident or as long as a tea break.
fn a_while(rng: &mut Rng) -> Duration {
    rng.of_any_size(Duration::ZERO, Duration::from_secs(90))
}

pub(crate) fn good_boot(rng: &mut Rng, pace: &Pace) -> Script {
    vec![(rng.up_to(pace.boot), Act::SayReady)]
}

pub(crate) fn bad_boot(rng: &mut Rng, pace: &Pace, limit: Duration) -> Script {
    let soon = rng.up_to(pace.boot);
    let then = rng.of_any_size(Duration::ZERO, pace.boot * 4);
    match rng.below(10) {
        0 => vec![(soon, CRASH)],
        1 => vec![(soon, LEAVE)],
        2 => vec![(soon, Act::SayFailed), (then, FAIL)],
        // Fails and hangs.
        3 => vec![(soon, Act::SayFailed)],
        // Fails and is ready all the same.
        4 => vec![(soon, Act::SayFailed), (then, Act::SayReady)],
        // Hangs.
        5 => vec![],
        // About as slow as allowed.
        6 => vec![(limit + rng.up_to(Duration::from_secs(1)), Act::SayReady)],
        7 => vec![(soon, Act::BreakLink)],
        8 => vec![(soon, Act::BreakLink), (then, FAIL)],
        _ => vec![(soon, Act::SayReady), (then, Act::SayReady)],
    }
}

/// What becomes of a child that was ready.
pub(crate) fn bad_life(rng: &mut Rng, policy: &Policy) -> Script {
    let soon = a_while(rng);
    let then = a_while(rng);
    // Where nobody is judged for it, nothing would ever come of it.
    if !policy.worker_timeout.is_zero() && rng.chance(400) {
        let frozen = rng.chance(500);
        return vec![(soon, Act::Hang { frozen })];
    }
    match rng.below(8) {
        0 | 1 => vec![(soon, CRASH)],
        2 => vec![(soon, LEAVE)],
        3 => vec![(soon, Act::SayFailed), (then, FAIL)],
        4 => vec![(soon, Act::SayFailed)],
        5 => vec![(soon, Act::BreakLink)],
        6 => vec![(soon, Act::BreakLink), (then, CRASH)],
        _ => vec![(soon, Act::SayReady), (then, CRASH)],
    }
}

pub(crate) fn good_farewell(rng: &mut Rng, budget: Duration) -> Script {
    vec![(rng.of_any_size(Duration::ZERO, budget), LEAVE)]
}

pub(crate) fn bad_farewell(rng: &mut Rng, policy: &Policy, budget: Duration) -> Script {
    let soon = rng.of_any_size(Duration::ZERO, budget);
    match rng.below(8) {
        // Does not hear, or does not want to.
        0 => vec![],
        // Ready after it was asked to leave.
        1 => vec![(soon, Act::SayReady), (Duration::ZERO, LEAVE)],
        2 => vec![(soon, Act::SayReady)],
        3 => vec![(soon, Act::SayFailed), (Duration::ZERO, FAIL)],
        4 => vec![(soon, Act::SayFailed)],
        5 => vec![(soon, Act::BreakLink)],
        6 => vec![(soon, CRASH)],
        // About when it is killed.
        _ => vec![(budget + policy.kill_after, LEAVE)],
    }
}

/// SIGKILL: the only thing that nobody can ignore.
pub(crate) fn killed(rng: &mut Rng, pace: &Pace) -> Script {
    vec![(rng.up_to(pace.kill), Act::Die(Status::Signal(9)))]
}
