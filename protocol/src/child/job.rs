//! A job: what a schedule runs, in whichever process.
//!
//! Agent and workers run jobs the same way: whatever the author's code does, the run has one outcome. A run that is
//! given up, at its timeout or because the process leaves, is dropped at its next `.await`.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::BoxError;
use super::hook::{panic_message, with_sources};
use crate::schedule::{Cause, Outcome};

/// Where a worker is asked about jobs: a [`JobRequest`].
pub const JOBS_TOPIC: &str = "hatchery/jobs";

/// Why a worker does not run it: it is about to leave. Another one may.
pub const LEAVING: &str = "this worker is about to leave";

/// One run of a job, as the job sees it.
#[derive(Debug, Clone)]
pub struct Job {
    order: Order,
    closing: CancellationToken,
}

impl Job {
    /// The schedule that runs it.
    pub fn schedule(&self) -> &str {
        &self.order.schedule
    }

    /// Which run of the schedule this is. Counts from 1, goes on over restarts of the agent, and is the same when a
    /// run that was lost is tried again.
    pub fn number(&self) -> u64 {
        self.order.number
    }

    /// Which try of the run this is. 1, or 2 after a worker died.
    pub fn attempt(&self) -> u32 {
        self.order.attempt
    }

    /// Why it runs.
    pub fn cause(&self) -> Cause {
        self.order.cause
    }

    /// For when it was planned, in milliseconds since 1970.
    pub fn due_ms(&self) -> u64 {
        self.order.due_ms
    }

    /// For a schedule that runs once per fleet: the fencing token of the host that runs it, larger than that of every
    /// host before. Give it along with what the job writes, so that the storage can refuse a smaller one than it has
    /// seen. `None` for other schedules, and without a fleet.
    pub fn fleet_token(&self) -> Option<u64> {
        self.order.token
    }

    /// Cancelled when the process is about to leave, or may not run this any longer: end soon.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

/// What an agent asks of a worker. All of it on one topic: what an agent before has asked is taken first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum JobRequest {
    /// Run a job. Answered with its [`Outcome`], when it is over.
    Run(Order),
    /// Tell of a run that an agent before has begun. Answered with its [`Outcome`] when it is over, or with `null` at
    /// once: it is not known here.
    Follow {
        /// The schedule.
        schedule: String,
        /// The run.
        number: u64,
    },
}

/// A job to be run, as it travels from the agent to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The schedule.
    pub schedule: String,
    /// The name of the job.
    pub job: String,
    /// The run.
    pub number: u64,
    /// The try, from 1.
    pub attempt: u32,
    /// Why it runs.
    pub cause: Cause,
    /// For when it was planned.
    pub due_ms: u64,
    /// How long it may take.
    #[serde(with = "crate::clock::as_millis", rename = "timeout_ms")]
    pub timeout: Duration,
    /// The fencing token of a host that runs it for a whole fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
}

/// An author's code for a job.
#[derive(Clone)]
pub struct Handler(Arc<Code>);

type Code = dyn Fn(Job) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send + Sync;

impl Handler {
    /// From a function.
    pub fn new<F, R>(code: F) -> Self
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self(Arc::new(move |job| Box::pin(code(job))))
    }

    /// Runs the job once. `closing` is what [`Job::closing`] shows.
    pub async fn run(&self, order: Order, closing: CancellationToken) -> Outcome {
        let limit = order.timeout;
        let job = Job { order, closing };
        // The call itself is the author's code, too.
        let running = AssertUnwindSafe(async { (self.0)(job).await }).catch_unwind();
        match tokio::time::timeout(limit, running).await {
            Ok(Ok(Ok(()))) => Outcome::Succeeded,
            Ok(Ok(Err(error))) => Outcome::failed(with_sources(&*error)),
            Ok(Err(panic)) => panicked(&*panic),
            Err(_) => Outcome::TimedOut,
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    Outcome::failed(format!("panicked: {}", panic_message(panic)))
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            schedule: "report".into(),
            job: "write".into(),
            number: 7,
            attempt: 1,
            cause: Cause::Due,
            due_ms: 8,
            timeout: Duration::from_secs(9),
            token: None,
        }
    }

    async fn outcome<R>(code: impl Fn(Job) -> R + Send + Sync + 'static) -> Outcome
    where
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let closing = CancellationToken::new();
        Handler::new(code).run(order(), closing).await
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_job_does_it_has_one_outcome() {
        let done = outcome(|job| async move {
            assert_eq!((job.schedule(), job.number()), ("report", 7));
            Ok(())
        });
        assert_eq!(done.await, Outcome::Succeeded);
        let failed = outcome(|_| async { Err("no disk".into()) }).await;
        assert_eq!(failed, Outcome::failed("no disk"));
        let panicked = outcome(|_| async { panic!("boom {}", 1) }).await;
        assert_eq!(panicked, Outcome::failed("panicked: boom 1"));
        let before_its_future = outcome(|job| {
            assert_eq!(job.number(), 0, "wrong run");
            std::future::ready(Ok(()))
        });
        let Outcome::Failed { reason } = before_its_future.await else {
            panic!("a failure")
        };
        assert!(reason.contains("wrong run"), "{reason}");
        assert_eq!(outcome(|_| std::future::pending()).await, Outcome::TimedOut);
    }

    /// Travels between processes of one build only, but is kept in view all the same.
    #[test]
    fn golden_requests() {
        assert_eq!(
            serde_json::to_string(&JobRequest::Run(order())).unwrap(),
            r#"{"ask":"run","schedule":"report","job":"write","number":7,"attempt":1,"cause":"due","due_ms":8,"timeout_ms":9000}"#
        );
        let follow = JobRequest::Follow {
            schedule: "report".into(),
            number: 7,
        };
        assert_eq!(
            serde_json::to_string(&follow).unwrap(),
            r#"{"ask":"follow","schedule":"report","number":7}"#
        );
        let token = Some(10);
        let of_a_fleet = serde_json::to_string(&Order { token, ..order() }).unwrap();
        assert!(of_a_fleet.ends_with(r#""timeout_ms":9000,"token":10}"#));
    }
}
