//! The jobs that this worker can run, and those that it runs.
//!
//! The agent asks by message; each run is a task, whose outcome is the answer. The master is told of it, too: the agent
//! may be another one by then. A worker that is to leave takes no new ones, and finishes those it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hatchery_protocol::child::job::{Handler, JOBS_TOPIC, JobRequest, LEAVING, Order};
use hatchery_protocol::child::messenger::{Message, Messenger, ReplyError};
use hatchery_protocol::child::{BoxError, CancellationToken, RunVoice};
use hatchery_protocol::clock::millis;
use hatchery_protocol::schedule::{Outcome, RunEnd};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::runs::Runs;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    handlers: Arc<Mutex<BTreeMap<String, Handler>>>,
    runs: Runs,
    running: TaskTracker,
    closing: CancellationToken,
    master: RunVoice,
}

impl Jobs {
    pub(crate) fn new(master: RunVoice) -> Self {
        Self {
            handlers: Arc::default(),
            runs: Runs::default(),
            running: TaskTracker::new(),
            closing: CancellationToken::new(),
            master,
        }
    }

    /// The author's code for a job. Another one of that name is replaced.
    pub(crate) fn register(&self, name: String, handler: Handler) {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.insert(name, handler);
    }

    /// Sees that everything that schedules need is there.
    pub(crate) fn check(&self, needed: &[String]) -> Result<(), BoxError> {
        let missing = needed.iter().filter(|job| self.handler(job).is_none());
        let missing: Vec<String> = missing.map(|job| format!("`{job}`")).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(format!(
            "the agent's schedules run {missing}, which this worker does not know: register it in `Worker::start` with \
             `WorkerContext::job`"
        )
        .into())
    }

    /// Does what the agent asks, until the process ends.
    pub(crate) fn serve(&self, messenger: &Messenger) -> Result<(), BoxError> {
        let mut asked = messenger.reserved().subscribe(JOBS_TOPIC)?;
        let jobs = self.clone();
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                jobs.take(message);
            }
        });
        Ok(())
    }

    /// Takes no new jobs, and waits for the end of those that run.
    pub(crate) async fn drain(&self) {
        self.closing.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// What is asked later finds here what was asked earlier.
    fn take(&self, message: Message) {
        match message.json() {
            Ok(JobRequest::Run(order)) => self.begin(message, order),
            Ok(JobRequest::Follow { schedule, number }) => {
                let end = self.runs.end_of(&schedule, number);
                self.answer(async move { message.reply(&end.await).await });
            }
            Err(error) => self.answer(async move { message.refuse(error.to_string()).await }),
        }
    }

    fn begin(&self, message: Message, order: Order) {
        let begun = self.runs.begin(&order.schedule, order.number);
        let jobs = self.clone();
        self.answer(async move {
            let outcome = match jobs.run(order).await {
                Ok(outcome) => outcome,
                Err(reason) => return message.refuse(reason).await,
            };
            begun.ended(&outcome);
            message.reply(&outcome).await
        });
    }

    /// Counted before it is looked whether the worker leaves: so a drain waits for every run that begins, and for its
    /// answer.
    fn answer<A>(&self, answering: A)
    where
        A: Future<Output = Result<(), ReplyError>> + Send + 'static,
    {
        tokio::spawn(self.running.track_future(async move {
            if let Err(error) = answering.await {
                tracing::debug!("nobody hears how a job went: {error}");
            }
        }));
    }

    async fn run(&self, order: Order) -> Result<Outcome, String> {
        if self.closing.is_cancelled() {
            return Err(LEAVING.to_owned());
        }
        let Some(handler) = self.handler(&order.job) else {
            return Err(format!("it does not know the job `{}`", order.job));
        };
        let (schedule, number) = (order.schedule.clone(), order.number);
        let since = Instant::now();
        let outcome = handler.run(order, self.closing.clone()).await;
        self.master.ended(RunEnd {
            schedule,
            number,
            duration_ms: millis(since.elapsed()),
            outcome: outcome.clone(),
        });
        Ok(outcome)
    }

    fn handler(&self, name: &str) -> Option<Handler> {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.get(name).cloned()
    }
}
