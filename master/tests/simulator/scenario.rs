//! What kind of world a seed stands for.

use std::time::Duration;

use hatchery_master::supervisor::{Backoff, Now, Policy, Recycle};

use crate::rng::Rng;

/// How often processes answer, in the worlds where that matters.
pub(crate) const BEAT: Duration = Duration::from_secs(5);

/// Everything that is drawn before the first event.
pub(crate) struct Scenario {
    pub(crate) policy: Policy,
    /// What a reload may read instead: other numbers, other timeouts, other limits.
    pub(crate) other: Policy,
    pub(crate) pace: Pace,
    /// How often things go wrong before egg-ready. Most starts have to succeed, or nothing else is seen.
    pub(crate) start_faults: u64,
    /// How often things go wrong afterwards, per thousand.
    pub(crate) faults: u64,
    /// How often an event comes twice, per thousand.
    pub(crate) echoes: u64,
    /// When somebody speaks of the dead or of strangers.
    pub(crate) rumours: Vec<Now>,
    /// What operators ask for, and when.
    pub(crate) wishes: Vec<(Now, Wish)>,
    /// How often what the shell is asked for fails, and how often a new build is a bad one, per thousand.
    pub(crate) mishaps: u64,
    pub(crate) ending: Ending,
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Reload { agent: bool },
    Scale(hatchery_master::supervisor::Scale),
    Upgrade,
}

impl Wish {
    fn draw(rng: &mut Rng) -> Self {
        use hatchery_master::supervisor::Scale;
        match rng.below(10) {
            0..=2 => Self::Reload { agent: false },
            3 | 4 => Self::Reload { agent: true },
            5 => Self::Scale(Scale::Up),
            6 => Self::Scale(Scale::Down),
            7 => Self::Scale(Scale::To(u32::try_from(rng.below(9)).unwrap_or(1))),
            _ => Self::Upgrade,
        }
    }
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
    /// Whether anybody is interested in beats.
    pub(crate) fn beats(&self) -> bool {
        [&self.policy, &self.other].iter().any(|policy| {
            let recycle = &policy.recycle;
            let limits = [
                recycle.max_requests,
                recycle.max_memory,
                recycle.kill_memory,
            ];
            !policy.worker_timeout.is_zero() || limits.iter().any(|limit| *limit > 0)
        })
    }

    /// `rng` goes on with the life; `aside` is for what was thought of later, so that the lives without it stay
    /// what they were.
    pub(crate) fn draw(rng: &mut Rng, aside: &mut Rng) -> Self {
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
            booting: u32::try_from(rng.pick(&[1, 2, 4, 64, 64], 64)).unwrap_or(1),
            surge: u32::try_from(1 + rng.below(3)).unwrap_or(1),
            worker_timeout: ms(0),
            stand_down_timeout: rng.of_any_size(ms(100), ms(3000)),
            upgrade_timeout: ms(rng.pick(&[0, 20_000, 120_000], 0)),
            ..Policy::default()
        };
        // Each of them makes a world of many beats, so in few of them.
        if rng.chance(30) {
            policy.worker_timeout = rng.of_any_size(ms(12_000), ms(60_000));
        }
        if rng.chance(30) {
            policy.recycle = Recycle {
                max_requests: rng.pick(&[0, 0, 50, 500], 0),
                max_lifetime: rng.pick(&[ms(0), ms(60_000), ms(300_000)], ms(0)),
                max_memory: rng.pick(&[0, 1000], 0),
                kill_memory: rng.pick(&[0, 2000], 0),
                jitter_percent: rng.pick(&[0, 10, 50], 0),
            };
        }
        // Of a number that was drawn already, so that every seed is the life that it was before.
        if policy.backoff.jitter_seed.is_multiple_of(3) {
            policy.pre_stop_delay = ms(policy.backoff.jitter_seed / 3 % 60_000);
        }
        policy.exit_on_crash_loop = aside.chance(50);
        let other = other_policy(&policy, &pace, aside);
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
        let wishes = if rng.chance(500) { 1 + rng.below(6) } else { 0 };
        let wishes = (0..wishes).map(|_| {
            let at = rng.of_any_size(ms(0), horizon);
            (at, Wish::draw(rng))
        });
        let wishes = wishes.collect();
        let mishaps = rng.pick(&[0, 50, 300], 0);
        let rumours = (0..rng.below(8)).map(|_| rng.of_any_size(ms(0), horizon));
        Self {
            rumours: rumours.collect(),
            wishes,
            mishaps,
            start_faults: rng.pick(&[0, 0, 0, 0, 10, 100], 0),
            faults: rng.pick(&[0, 50, 500, 950], 0),
            echoes: rng.pick(&[0, 0, 20, 200], 0),
            policy,
            other,
            pace,
            ending,
        }
    }
}

/// What a reload may find in the configuration.
fn other_policy(policy: &Policy, pace: &Pace, rng: &mut Rng) -> Policy {
    let mut other = policy.clone();
    if rng.chance(500) {
        other.workers = u32::try_from(1 + rng.below(12)).unwrap_or(1);
    }
    if rng.chance(300) {
        other.agent_start_timeout = pace.boot + rng.of_any_size(ms(1000), ms(60_000));
        other.worker_start_timeout = pace.boot + rng.of_any_size(ms(1000), ms(60_000));
        other.drain_timeout = rng.of_any_size(ms(0), ms(30_000));
    }
    // As above.
    if rng.chance(30) {
        other.worker_timeout = rng.pick(&[ms(0), ms(12_000), ms(40_000)], ms(0));
    }
    if rng.chance(30) {
        other.recycle = Recycle {
            max_requests: rng.pick(&[0, 50, 500], 0),
            max_lifetime: rng.pick(&[ms(0), ms(60_000), ms(300_000)], ms(0)),
            max_memory: rng.pick(&[0, 1000], 0),
            kill_memory: rng.pick(&[0, 2000], 0),
            jitter_percent: rng.pick(&[0, 10, 50], 0),
        };
    }
    other
}
