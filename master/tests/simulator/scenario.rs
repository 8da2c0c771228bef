//! What kind of world a seed stands for.

use std::time::Duration;

use hatchery_master::supervisor::{Backoff, Now, Policy};

use crate::rng::Rng;

/// Everything that is drawn before the first event.
pub(crate) struct Scenario {
    pub(crate) policy: Policy,
    pub(crate) pace: Pace,
    /// How often things go wrong before egg-ready. Most starts have to succeed, or nothing else is seen.
    pub(crate) start_faults: u64,
    /// How often things go wrong afterwards, per thousand.
    pub(crate) faults: u64,
    /// How often an event comes twice, per thousand.
    pub(crate) echoes: u64,
    /// When somebody speaks of the dead or of strangers.
    pub(crate) rumours: Vec<Now>,
    pub(crate) ending: Ending,
}

/// The longest that things take in this world.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// From the wish for a process to the process.
    pub(crate) spawn: Duration,
    /// A `start` without trouble. Always shorter than the start timeouts.
    pub(crate) boot: Duration,
    /// From a child's word to the supervisor's ear.
    pub(crate) delivery: Duration,
    /// From SIGKILL to the end.
    pub(crate) kill: Duration,
    /// By how much a timer is late.
    pub(crate) timer: Duration,
}

/// How it ends.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    /// Somebody wants it to stop, wherever it is; perhaps somebody else does, too.
    Stop {
        at: Now,
        at_once: bool,
        again: Option<(Duration, bool)>,
    },
    /// From this moment on nothing goes wrong any more, so everything has to become well.
    Calm { at: Now },
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let pace = Pace {
            spawn: rng.of_any_size(ms(0), ms(500)),
            boot: rng.of_any_size(ms(10), ms(5000)),
            delivery: rng.of_any_size(ms(0), ms(1000)),
            kill: rng.of_any_size(ms(0), ms(1000)),
            timer: if rng.chance(300) { ms(50) } else { ms(0) },
        };
        let mut policy = Policy {
            workers: u32::try_from(1 + rng.below(12)).unwrap_or(1),
            agent_start_timeout: pace.boot + rng.of_any_size(ms(1000), ms(60_000)),
            worker_start_timeout: pace.boot + rng.of_any_size(ms(1000), ms(60_000)),
            pre_stop_delay: ms(0),
            drain_timeout: rng.of_any_size(ms(0), ms(30_000)),
            kill_after: rng.of_any_size(ms(50), ms(3000)),
            backoff: Backoff {
                first: rng.of_any_size(ms(50), ms(1000)),
                cap: rng.of_any_size(ms(1000), ms(30_000)),
                stable: rng.of_any_size(ms(1000), ms(60_000)),
                crash_loop: u32::try_from(1 + rng.below(5)).unwrap_or(1),
                jitter_seed: rng.below(u64::MAX),
            },
            booting: 64,
            worker_timeout: ms(0),
            ..Policy::default()
        };
        // Of a number that was drawn already, so that every seed is the life that it was before.
        if policy.backoff.jitter_seed.is_multiple_of(3) {
            policy.pre_stop_delay = ms(policy.backoff.jitter_seed / 3 % 60_000);
        }
        // In the middle of a start, or at any time of a quarter of an hour.
        let horizon = if rng.chance(400) {
            (pace.spawn + pace.boot) * 3
        } else {
            ms(900_000)
        };
        let ending = if rng.chance(300) {
            Ending::Calm {
                at: rng.of_any_size(ms(0), horizon),
            }
        } else {
            Ending::Stop {
                at: rng.of_any_size(ms(0), horizon),
                at_once: rng.chance(200),
                again: rng.chance(300).then(|| {
                    let after = rng.of_any_size(ms(0), policy.drain_timeout * 2);
                    (after, rng.chance(700))
                }),
            }
        };
        let rumours = (0..rng.below(8)).map(|_| rng.of_any_size(ms(0), horizon));
        Self {
            rumours: rumours.collect(),
            start_faults: rng.pick(&[0, 0, 0, 0, 10, 100], 0),
            faults: rng.pick(&[0, 50, 500, 950], 0),
            echoes: rng.pick(&[0, 0, 20, 200], 0),
            policy,
            pace,
            ending,
        }
    }
}
