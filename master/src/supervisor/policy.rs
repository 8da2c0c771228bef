//! How long, how many, how patient.

use std::time::Duration;

/// The numbers that a supervisor decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How many workers to keep.
    pub workers: u32,
    /// How long the agent may take to be ready, from the creation of its process.
    pub agent_start_timeout: Duration,
    /// How long a worker may take.
    pub worker_start_timeout: Duration,
    /// How long the cluster serves on between the wish to stop it and the stop.
    pub pre_stop_delay: Duration,
    /// How long a stop may take, workers and agent together.
    pub drain_timeout: Duration,
    /// How long after the end of its time a child is killed; also what the agent gets at least.
    pub kill_after: Duration,
    /// How soon a dead child is replaced.
    pub backoff: Backoff,
    /// How many workers may be on their way to being ready at once while others serve; at least 1.
    pub booting: u32,
    /// How many slots a reload replaces at once; at least 1.
    pub surge: u32,
    /// How long a ready child's runtime or process may be silent; zero is for ever.
    pub worker_timeout: Duration,
    /// When a worker is replaced by a fresh one.
    pub recycle: Recycle,
    /// How long the agent may take to stop what may run only once before it is killed.
    pub stand_down_timeout: Duration,
    /// How long a new master may take until all its processes are ready; zero is for ever.
    pub upgrade_timeout: Duration,
    /// Whether a seat in a crash loop ends the whole cluster.
    pub exit_on_crash_loop: bool,
    /// Whether who dies is replaced. If not, the first death after egg-ready ends the whole, as one before it does.
    pub heals: bool,
}

impl Recycle {
    /// How many requests the worker with this incarnation may serve.
    pub(super) fn quota(&self, incarnation: u64, seed: u64) -> Option<u64> {
        let off = self.share(self.max_requests, incarnation, seed);
        (self.max_requests > 0).then(|| (self.max_requests - off).max(1))
    }

    /// How long it may be ready.
    pub(super) fn lifetime(&self, incarnation: u64, seed: u64) -> Option<Duration> {
        let millis = u64::try_from(self.max_lifetime.as_millis()).unwrap_or(u64::MAX);
        let off = self.share(millis, incarnation, seed);
        (!self.max_lifetime.is_zero()).then(|| Duration::from_millis((millis - off).max(1)))
    }

    /// A share of `whole`: up to `jitter_percent` of it, and the same for the same worker.
    fn share(&self, whole: u64, incarnation: u64, seed: u64) -> u64 {
        let percent = u128::from(self.jitter_percent.min(100));
        let dice = u128::from(mix(seed ^ incarnation));
        let share = u128::from(whole) * percent * dice / 100 / u128::from(u32::MAX);
        u64::try_from(share).unwrap_or(whole)
    }
}

impl Default for Policy {
    /// One worker, and the timeouts that are documented as defaults.
    fn default() -> Self {
        Self {
            workers: 1,
            agent_start_timeout: Duration::from_secs(60),
            worker_start_timeout: Duration::from_secs(60),
            pre_stop_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            kill_after: Duration::from_secs(2),
            backoff: Backoff::default(),
            booting: 1,
            surge: 1,
            worker_timeout: Duration::from_secs(30),
            recycle: Recycle::default(),
            stand_down_timeout: Duration::from_secs(1),
            upgrade_timeout: Duration::ZERO,
            exit_on_crash_loop: false,
            heals: true,
        }
    }
}

/// When a worker is replaced by a fresh one, although nothing is wrong with it. Zero is never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recycle {
    /// After so many requests.
    pub max_requests: u64,
    /// After being ready for so long.
    pub max_lifetime: Duration,
    /// When it has so many bytes of memory: its replacement is ready first.
    pub max_memory: u64,
    /// When it has so many: it is killed.
    pub kill_memory: u64,
    /// By up to how many per cent a worker's own limits of requests and lifetime lie below these, so that
    /// workers that started together do not end together.
    pub jitter_percent: u32,
}

/// How soon a seat is filled again after a death: at once the first time, later and later when deaths
/// follow each other. It never gives up (Einhorn's rule: 1.5 to the power of consecutive deaths, with a cap).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the second death in a row.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// A process that was ready for so long ends the row.
    pub stable: Duration,
    /// From how many deaths in a row on a seat is in a crash loop.
    pub crash_loop: u32,
    /// Makes the waits of this master differ from those of others, and of seats from each other.
    pub jitter_seed: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            stable: Duration::from_secs(60),
            crash_loop: 3,
            jitter_seed: 0,
        }
    }
}

impl Backoff {
    /// How long to wait after the `deaths`-th death in a row (from 1); `salt` picks the jitter.
    ///
    /// Up to 10 % are taken off, so that seats that died together do not come back together.
    pub fn delay(&self, deaths: u32, salt: u64) -> Duration {
        let Some(exponent) = deaths.checked_sub(2) else {
            return Duration::ZERO;
        };
        let exponent = i32::try_from(exponent.min(64)).unwrap_or(64);
        let seconds = self.first.as_secs_f64() * 1.5f64.powi(exponent);
        let capped = seconds.min(self.cap.as_secs_f64());
        let jitter = f64::from(mix(self.jitter_seed ^ salt) >> 16) / f64::from(u16::MAX);
        Duration::from_secs_f64(capped * (1.0 - 0.1 * jitter))
    }
}

/// `SplitMix64`'s finisher: spreads neighbouring salts over the whole range.
const fn mix(salt: u64) -> u32 {
    let mut z = salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_vary_by_at_most_a_tenth() {
        let backoff = Backoff::default();
        assert_eq!(
            backoff.delay(1, 7),
            Duration::ZERO,
            "the first death is replaced at once"
        );
        for deaths in 2..100 {
            let full = (0.5 * 1.5f64.powi(deaths - 2)).min(30.0);
            for salt in 0..50 {
                let got = backoff
                    .delay(u32::try_from(deaths).unwrap(), salt)
                    .as_secs_f64();
                assert!(
                    got <= full + 1e-6 && got >= full * 0.9 - 1e-6,
                    "{deaths} {salt}: {got} of {full}"
                );
            }
        }
    }

    #[test]
    fn workers_that_start_together_do_not_end_together() {
        let recycle = Recycle {
            max_requests: 1000,
            max_lifetime: Duration::from_secs(1000),
            jitter_percent: 10,
            ..Recycle::default()
        };
        let mut quotas: Vec<_> = (1..=50).filter_map(|i| recycle.quota(i, 9)).collect();
        assert!(
            quotas.iter().all(|n| (900..=1000).contains(n)),
            "{quotas:?}"
        );
        quotas.sort_unstable();
        quotas.dedup();
        assert!(quotas.len() > 20, "{quotas:?}");
        let lifetimes = (1..=50).filter_map(|i| recycle.lifetime(i, 9));
        for lifetime in lifetimes {
            assert!((900..=1000).contains(&lifetime.as_secs()), "{lifetime:?}");
        }
        assert_eq!(Recycle::default().quota(1, 9), None);
        assert_eq!(Recycle::default().lifetime(1, 9), None);
    }

    /// However large the jitter: a worker serves a request, and lives for a moment.
    #[test]
    fn nothing_is_left_of_no_limit() {
        for jitter_percent in [0, 100, 250] {
            let recycle = Recycle {
                max_requests: 1,
                max_lifetime: Duration::from_millis(1),
                jitter_percent,
                ..Recycle::default()
            };
            for incarnation in 1..500 {
                assert_eq!(recycle.quota(incarnation, 9), Some(1));
                let lifetime = recycle.lifetime(incarnation, 9);
                assert_eq!(lifetime, Some(Duration::from_millis(1)));
            }
            let recycle = Recycle {
                max_requests: 1000,
                ..recycle
            };
            let quotas = (1..500).filter_map(|incarnation| recycle.quota(incarnation, 9));
            assert!(quotas.into_iter().all(|quota| (1..=1000).contains(&quota)));
        }
    }

    #[test]
    fn masters_do_not_act_in_step() {
        let backoffs = [1, 2].map(|jitter_seed| Backoff {
            jitter_seed,
            ..Backoff::default()
        });
        let recycle = Recycle {
            max_requests: 1_000_000,
            jitter_percent: 10,
            ..Recycle::default()
        };
        for n in 1..50 {
            let [one, other] = &backoffs;
            assert_ne!(one.delay(10, n), other.delay(10, n), "seat {n}");
            assert_ne!(recycle.quota(n, 1), recycle.quota(n, 2), "worker {n}");
        }
    }

    #[test]
    fn seats_that_die_together_come_back_apart() {
        let backoff = Backoff::default();
        let mut waits: Vec<_> = (0..8).map(|salt| backoff.delay(10, salt)).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() >= 7);
    }
}
