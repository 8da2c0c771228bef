//! Made-up hosts: a fleet that everybody sees at once, and the world of each host's agent in it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use hatchery_protocol::schedule::Cause;
use jiff::{SignedDuration, Timestamp};

use super::super::*;
use crate::schedule::Schedule;
use crate::schedule::book::LastTime;
use crate::schedule::plan::check;

pub(super) const S: Duration = Duration::from_secs(1);
/// So long after it was cut off a host has lost its turn; and so much later another one can have it.
pub(super) const LOST: Duration = Duration::from_secs(10);
pub(super) const FREE_AFTER_THAT: Duration = Duration::from_secs(5);

/// A run that a worker was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) host: usize,
    pub(super) due_ms: u64,
    pub(super) cause: Cause,
    pub(super) token: Option<u64>,
}

/// What is known in the fleet, and who can reach it.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) holder: Option<(usize, u64)>,
    pub(super) tokens: u64,
    pub(super) lost: BTreeSet<u64>,
    pub(super) cut_off: BTreeSet<usize>,
    pub(super) last: Option<(Option<u64>, Instant)>,
}

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) begun: Instant,
    pub(super) known: watch::Sender<Known>,
    pub(super) runs: Mutex<Vec<Ran>>,
}

impl Fleet {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            known: watch::Sender::default(),
            runs: Mutex::default(),
        })
    }

    pub(super) fn holder(&self) -> Option<usize> {
        self.known.borrow().holder.map(|(host, _)| host)
    }

    /// The times that were run, each with its host.
    pub(super) fn runs(&self) -> Vec<Ran> {
        self.runs.lock().unwrap().clone()
    }

    /// Cuts a host off. What it holds is lost after a while, and free after another one.
    pub(super) fn cut_off(self: &Arc<Self>, host: usize) {
        self.known.send_modify(|known| {
            known.cut_off.insert(host);
        });
        let Some((holder, token)) = self.known.borrow().holder else {
            return;
        };
        if holder != host {
            return;
        }
        let fleet = Arc::clone(self);
        tokio::spawn(async move {
            let still = || fleet.known.borrow().cut_off.contains(&host);
            tokio::time::sleep(LOST).await;
            if still() {
                fleet.known.send_modify(|known| {
                    known.lost.insert(token);
                });
                tokio::time::sleep(FREE_AFTER_THAT).await;
                fleet.known.send_modify(|known| {
                    known.holder.take_if(|holder| *holder == (host, token));
                });
            }
        });
    }

    pub(super) fn heal(&self, host: usize) {
        self.known.send_modify(|known| {
            known.cut_off.remove(&host);
        });
    }
}

/// One host of it.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) number: usize,
    pub(super) fleet: Option<Arc<Fleet>>,
    pub(super) shared: Arc<Fleet>,
    /// By how much its wall clock is wrong, in milliseconds.
    pub(super) skew: i64,
    pub(super) workers: watch::Sender<usize>,
    pub(super) told: Arc<Mutex<Vec<ScheduleStatus>>>,
    pub(super) answers: Arc<Mutex<Vec<Result<(), String>>>>,
    pub(super) takes: Duration,
}

impl Host {
    pub(super) fn new(number: usize, fleet: &Arc<Fleet>) -> Self {
        Self {
            number,
            fleet: Some(Arc::clone(fleet)),
            shared: Arc::clone(fleet),
            skew: 0,
            workers: watch::Sender::new(1),
            told: Arc::default(),
            answers: Arc::default(),
            takes: Duration::ZERO,
        }
    }

    /// An agent of this host's, which goes on where the one before ended.
    pub(super) fn start(&self, schedule: &Schedule) -> Runner {
        let schedule = schedule.clone().once_per_fleet();
        let plans = check(vec![schedule], self.now().wall).unwrap();
        let previous: Vec<_> = self
            .told
            .lock()
            .unwrap()
            .last()
            .cloned()
            .into_iter()
            .collect();
        Runner::start(self.clone(), plans, &previous, 1)
    }

    pub(super) fn status(&self) -> ScheduleStatus {
        self.told.lock().unwrap().last().unwrap().clone()
    }
}

impl World for Host {
    fn now(&self) -> Moment {
        let passed = self.shared.begun.elapsed();
        let start: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        Moment {
            wall: start + passed + SignedDuration::from_millis(self.skew),
            boot: S * 1000 * u32::try_from(self.number + 1).unwrap() + passed,
        }
    }

    fn clock_set(&self) -> Later<()> {
        Box::pin(std::future::pending())
    }

    fn report(&self, status: ScheduleStatus) {
        self.told.lock().unwrap().push(status);
    }

    fn answer(&self, _order: u64, result: Result<(), String>) {
        self.answers.lock().unwrap().push(result);
    }

    fn on_one(&self, order: Order) -> Later<Option<Outcome>> {
        self.shared.runs.lock().unwrap().push(Ran {
            host: self.number,
            due_ms: order.due_ms,
            cause: order.cause,
            token: order.token,
        });
        let takes = self.takes;
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            Some(Outcome::Succeeded)
        })
    }

    fn follow(&self, _run: Followed) -> Later<Vec<(Slot, Outcome)>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn on_all(&self, _order: Order) -> Later<Vec<(Slot, Outcome)>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn in_fleet(&self) -> bool {
        self.fleet.is_some()
    }

    fn workers(&self, ready: bool) -> Later<()> {
        let mut workers = self.workers.subscribe();
        Box::pin(async move {
            let _ = workers.wait_for(|count| (*count > 0) == ready).await;
        })
    }

    fn turn(&self, _plan: &Plan) -> Later<Arc<dyn Turn>> {
        let (host, fleet) = (self.number, Arc::clone(&self.shared));
        Box::pin(async move {
            let mut known = fleet.known.subscribe();
            loop {
                let free = |known: &Known| known.holder.is_none() && !known.cut_off.contains(&host);
                known.wait_for(free).await.unwrap();
                let mut taken = None;
                fleet.known.send_modify(|known| {
                    if free(known) {
                        known.tokens += 1;
                        known.holder = Some((host, known.tokens));
                        let last = known.last.map(|(due_ms, at)| LastTime {
                            due_ms,
                            ago: at.elapsed(),
                        });
                        taken = Some((known.tokens, last));
                    }
                });
                if let Some((token, last)) = taken {
                    let fleet = Arc::clone(&fleet);
                    return Arc::new(Post {
                        host,
                        token,
                        last,
                        fleet,
                    }) as Arc<dyn Turn>;
                }
            }
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) host: usize,
    pub(super) token: u64,
    pub(super) last: Option<LastTime>,
    pub(super) fleet: Arc<Fleet>,
}

impl Post {
    pub(super) fn is_over(&self, known: &Known) -> bool {
        known.lost.contains(&self.token) || known.holder != Some((self.host, self.token))
    }
}

impl Turn for Post {
    fn token(&self) -> u64 {
        self.token
    }

    fn last(&self) -> Option<LastTime> {
        self.last
    }

    fn lost(&self) -> Later<()> {
        let post = self.clone();
        Box::pin(async move {
            let mut known = post.fleet.known.subscribe();
            let _ = known.wait_for(|known| post.is_over(known)).await;
        })
    }

    fn claim(&self, claim: Claim) -> Later<Claimed> {
        let post = self.clone();
        Box::pin(async move {
            let mut known = post.fleet.known.subscribe();
            let reached =
                |known: &Known| post.is_over(known) || !known.cut_off.contains(&post.host);
            let _ = known.wait_for(reached).await;
            let mut claimed = Claimed::Others;
            post.fleet.known.send_modify(|known| {
                let passed = known.last.and_then(|(due, _)| due) >= claim.due_ms;
                if !post.is_over(known) && (claim.due_ms.is_none() || !passed) {
                    known.last = Some((claim.due_ms, Instant::now() - claim.late));
                    claimed = Claimed::Ours;
                }
            });
            claimed
        })
    }

    fn give_back(&self) -> Later<()> {
        let post = self.clone();
        Box::pin(async move {
            post.fleet.known.send_modify(|known| {
                known.lost.insert(post.token);
                known
                    .holder
                    .take_if(|holder| *holder == (post.host, post.token));
            });
        })
    }
}
