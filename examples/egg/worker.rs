//! Workers answer from memory.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hatchery::messenger::Target;
use hatchery::{BoxError, Worker, WorkerContext, async_trait};
use tokio::time::timeout;

use crate::arrow;
use crate::config::{Current, TOPIC, Version};

/// How long a worker waits for the agent's answer, and a client for a worker that waits.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Web {
    current: Current,
}

#[async_trait]
impl Worker for Web {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let me = format!("Worker {}", context.slot());
        arrow("Master", "fork worker", &me);
        // Before egg-ready nothing arrives, and after it nothing is missed.
        let mut changes = context.messenger().subscribe(TOPIC)?;
        let current = self.current.clone();
        tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                match change.json::<Version>() {
                    Ok(version) => current.set(version),
                    Err(error) => tracing::warn!("not a configuration: {error}"),
                }
            }
        });
        let slot = context.slot();
        context.job("rounds", move |job| async move {
            tracing::info!(
                "worker {slot} does its rounds for the {}. time",
                job.number()
            );
            Ok(())
        });
        arrow(&me, "worker ready", "Master");
        Ok(Router::new()
            .route("/", get(greet))
            .with_state((context.clone(), self.current.clone())))
    }

    async fn egg_ready(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        arrow("Master", "Egg ready", &format!("Worker {}", context.slot()));
        let messenger = context.messenger();
        match messenger.request(Target::Agent, TOPIC, &(), PATIENCE).await {
            Ok(version) => self.current.set(version),
            // The next agent tells everybody.
            Err(error) => tracing::warn!("no configuration yet: {error}"),
        }
        Ok(())
    }

    async fn before_close(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        arrow(&format!("Worker {}", context.slot()), "closed", "Master");
        Ok(())
    }
}

async fn greet(
    State((worker, current)): State<(WorkerContext, Current)>,
) -> Result<String, StatusCode> {
    // In the first moments after egg-ready it may not be here yet; from then on nobody waits.
    let version = timeout(PATIENCE, current.wait()).await;
    let version = version.ok().flatten();
    let greeting = version
        .ok_or(StatusCode::SERVICE_UNAVAILABLE)?
        .config
        .greeting;
    Ok(format!("{greeting}, says worker {}\n", worker.slot()))
}
