//! The turn of a schedule, by a lease of the fleet.
//!
//! Which times were claimed stands in the lease's own record, so Redis compares token and time in one step: a host that
//! has lost its lease, however late it notices, claims nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::book::{Claim, Claimed, LastTime};
use super::runner::{Later, Turn};
use crate::fleet::lease::{LeaseHandle, Time, Word};
use crate::fleet::{Fleet, FleetError};

/// How soon Redis is asked again when it has not answered.
const AGAIN: Duration = Duration::from_millis(100);
/// How soon a process that has too many leases looks whether it still does.
const TOO_MANY: Duration = Duration::from_secs(10);

/// A lease that is held.
#[derive(Debug, Clone)]
struct Post {
    lease: Arc<LeaseHandle>,
    rhythm: Arc<str>,
    token: u64,
    last: Option<LastTime>,
    /// How many times have been claimed.
    claims: Arc<AtomicU64>,
}

/// Waits until this host has the turn of the schedule. `rhythm` is when it runs: times of another one mean nothing.
pub(super) async fn turn(fleet: Fleet, schedule: String, rhythm: String) -> Arc<dyn Turn> {
    let lease = loop {
        match fleet.lease(&format!("hatchery/schedule/{schedule}")) {
            Ok(lease) => break Arc::new(lease),
            Err(error) => {
                tracing::error!("`{schedule}` cannot be run by this host: {error}");
                sleep(TOO_MANY).await;
            }
        }
    };
    let rhythm: Arc<str> = rhythm.into();
    loop {
        let token = lease.held().await;
        let mut post = Post {
            lease: Arc::clone(&lease),
            rhythm: Arc::clone(&rhythm),
            token,
            last: None,
            claims: Arc::default(),
        };
        match post.until_lost(Word::Last, &mut false).await {
            Some(Time::Last { due_ms, ago }) => {
                post.last = Some(LastTime { due_ms, ago });
                return Arc::new(post);
            }
            Some(Time::None) => return Arc::new(post),
            // Lost already, or a record without this token: it will be.
            Some(Time::Taken | Time::Passed | Time::Others) | None => lease.lost(token).await,
        }
    }
}

impl Post {
    /// Asks until there is an answer, or the lease is lost. `in_doubt` becomes true when something may have been done
    /// without an answer.
    async fn until_lost(&self, word: Word, in_doubt: &mut bool) -> Option<Time> {
        let asking = async {
            loop {
                let asked = self.lease.ask(self.token, &self.rhythm, &word);
                let was_in_doubt = std::mem::replace(in_doubt, true);
                match asked.await {
                    Ok(time) => {
                        *in_doubt = was_in_doubt;
                        return time;
                    }
                    Err(FleetError::Unanswered) => {}
                    Err(error) => {
                        tracing::debug!("a schedule's turn: {error}");
                        *in_doubt = was_in_doubt;
                    }
                }
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            time = asking => Some(time),
            () = self.lease.lost(self.token) => None,
        }
    }

    async fn claim(self, claim: Claim) -> Claimed {
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        let word = Word::Take {
            due_ms: claim.due_ms,
            late: claim.late,
            number,
        };
        let mut in_doubt = false;
        match self.until_lost(word, &mut in_doubt).await {
            Some(Time::Taken) => Claimed::Ours,
            // Redis has compared it with the last one: this host's own would be `Taken`.
            Some(Time::Passed) => Claimed::Others,
            Some(Time::Others | Time::None | Time::Last { .. }) | None => {
                if in_doubt {
                    Claimed::Unknown
                } else {
                    Claimed::Others
                }
            }
        }
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
        let (lease, token) = (Arc::clone(&self.lease), self.token);
        Box::pin(async move { lease.lost(token).await })
    }

    fn claim(&self, claim: Claim) -> Later<Claimed> {
        Box::pin(self.clone().claim(claim))
    }

    fn give_back(&self) -> Later<()> {
        let lease = Arc::clone(&self.lease);
        Box::pin(async move { lease.give_back().await })
    }
}
