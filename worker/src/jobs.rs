//! The jobs that this worker can run, and those that it runs.
//!
//! The agent asks by message; each run is a task, whose outcome is the answer. A worker that is to leave takes no new
//! ones, and finishes those it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hatchery_protocol::child::job::{Handler, JOBS_TOPIC, LEAVING, Order};
use hatchery_protocol::child::messenger::{Message, Messenger};
use hatchery_protocol::child::{BoxError, CancellationToken};
use hatchery_protocol::schedule::Outcome;
use tokio_util::task::TaskTracker;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jobs {
    handlers: Arc<Mutex<BTreeMap<String, Handler>>>,
    running: TaskTracker,
    closing: CancellationToken,
}

impl Jobs {
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
                jobs.begin(message);
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

    fn begin(&self, message: Message) {
        let jobs = self.clone();
        // Counted before it is looked whether the worker leaves: so a drain waits for every run that begins.
        let answering = self.running.track_future(async move {
            let done = match jobs.run(&message).await {
                Ok(outcome) => message.reply(&outcome).await,
                Err(reason) => message.refuse(reason).await,
            };
            if let Err(error) = done {
                tracing::debug!("nobody hears how a job went: {error}");
            }
        });
        tokio::spawn(answering);
    }

    async fn run(&self, message: &Message) -> Result<Outcome, String> {
        if self.closing.is_cancelled() {
            return Err(LEAVING.to_owned());
        }
        let order: Order = message.json().map_err(|error| error.to_string())?;
        let Some(handler) = self.handler(&order.job) else {
            return Err(format!("it does not know the job `{}`", order.job));
        };
        Ok(handler.run(order, self.closing.clone()).await)
    }

    fn handler(&self, name: &str) -> Option<Handler> {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.get(name).cloned()
    }
}
