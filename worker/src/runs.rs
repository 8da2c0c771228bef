//! Which runs of schedules go on in this worker, and how the last ones ended.
//!
//! Not for the agent that has begun them, which gets an answer, but for the next one.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use hatchery_protocol::schedule::{MAX_SCHEDULES, Outcome};
use tokio::sync::watch;

/// How many runs that have ended are remembered: as many as may end while an agent is replaced, and not more than
/// an agent has schedules.
const REMEMBERED: usize = MAX_SCHEDULES;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<VecDeque<Known>>>);

#[derive(Debug)]
struct Known {
    schedule: String,
    number: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Known {
    fn goes_on(&self) -> bool {
        // Without a sender it has ended, too, or has never begun.
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }
}

/// A run that has begun. Dropped without its end: it has not been one.
#[derive(Debug)]
pub(crate) struct Begun(watch::Sender<Option<Outcome>>);

impl Begun {
    /// It is over.
    pub(crate) fn ended(self, outcome: &Outcome) {
        self.0.send_replace(Some(outcome.clone()));
    }
}

impl Runs {
    /// A run begins.
    pub(crate) fn begin(&self, schedule: &str, number: u64) -> Begun {
        let (begun, outcome) = watch::channel(None);
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= REMEMBERED
            && let Some(oldest) = runs.iter().position(|run| !run.goes_on())
        {
            runs.remove(oldest);
        }
        runs.push_back(Known {
            schedule: schedule.to_owned(),
            number,
            outcome,
        });
        Begun(begun)
    }

    /// Waits for the end of a run. `None`: it is not known here. Which one is meant is looked at in the call, not later.
    pub(crate) fn end_of(
        &self,
        schedule: &str,
        number: u64,
    ) -> impl Future<Output = Option<Outcome>> + Send + use<> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = |run: &&Known| run.number == number && run.schedule == schedule;
        // Of two tries of a run the later one.
        let outcome = runs.iter().rev().find(meant);
        let outcome = outcome.map(|run| run.outcome.clone());
        async move {
            let mut outcome = outcome?;
            let ended = outcome.wait_for(Option::is_some).await.ok()?;
            ended.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn whoever_asks_hears_of_the_end() {
        let runs = Runs::default();
        let first = runs.begin("a", 1);
        assert_eq!(runs.end_of("a", 2).await, None);
        assert_eq!(runs.end_of("b", 1).await, None);
        let mut early = Box::pin(runs.end_of("a", 1));
        assert_eq!((&mut early).now_or_never(), None, "it goes on");
        first.ended(&Outcome::TimedOut);
        assert_eq!(early.await, Some(Outcome::TimedOut));
        assert_eq!(runs.end_of("a", 1).await, Some(Outcome::TimedOut));
        // Another try here.
        runs.begin("a", 1).ended(&Outcome::Succeeded);
        assert_eq!(runs.end_of("a", 1).await, Some(Outcome::Succeeded));
        // Refused after all.
        drop(runs.begin("a", 3));
        assert_eq!(runs.end_of("a", 3).await, None);
    }

    #[tokio::test]
    async fn what_goes_on_is_remembered_and_of_the_rest_the_last() {
        let runs = Runs::default();
        let long = runs.begin("long", 1);
        let many = 2 * u64::try_from(REMEMBERED).unwrap();
        for number in 1..=many {
            runs.begin("a", number).ended(&Outcome::Succeeded);
        }
        assert_eq!(runs.0.lock().unwrap().len(), REMEMBERED);
        assert_eq!(runs.end_of("a", 1).await, None);
        assert_eq!(runs.end_of("a", many).await, Some(Outcome::Succeeded));
        long.ended(&Outcome::Succeeded);
        assert_eq!(runs.end_of("long", 1).await, Some(Outcome::Succeeded));
    }
}
