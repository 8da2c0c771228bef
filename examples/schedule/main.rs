//! Things done at certain times: by one worker, by all of them, and by the agent.
//!
//! ```text
//! cargo run --example schedule
//! cargo run --example schedule -- schedule list
//! cargo run --example schedule -- schedule run report
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hatchery::schedule::Schedule;
use hatchery::{Agent, AgentContext, App, BoxError, Worker, WorkerContext, async_trait};

struct Clockwork;

#[async_trait]
impl Agent for Clockwork {
    async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn schedules(&self) -> Vec<Schedule> {
        vec![
            // Every worker has a cache of its own.
            Schedule::every("refresh", Duration::from_secs(5))
                .immediate()
                .on_all_workers(),
            // Work for one of them; another one may do it again if that one dies.
            Schedule::cron("report", "*/15 * * * * *")
                .timeout(Duration::from_secs(10))
                .retry_lost(),
            // Once a host, and no work for a process that serves requests.
            Schedule::cron("sweep", "30 2 * * *")
                .zone("Europe/Berlin")
                .in_agent(|_job| async {
                    tracing::info!("swept");
                    Ok(())
                }),
        ]
    }
}

/// How often this worker's cache was refreshed.
type Refreshed = Arc<AtomicU64>;

struct Web;

#[async_trait]
impl Worker for Web {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        let refreshed = Refreshed::default();
        let cache = Arc::clone(&refreshed);
        context.job("refresh", move |_job| {
            cache.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        });
        let slot = context.slot();
        context.job("report", move |job| async move {
            for page in 1..=10 {
                if job.closing().is_cancelled() {
                    return Err(format!("this worker has to leave before page {page}").into());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tracing::info!("report {} written by worker {slot}", job.number());
            Ok(())
        });
        Ok(Router::new().route("/", get(age)).with_state(refreshed))
    }
}

async fn age(State(refreshed): State<Refreshed>) -> String {
    let times = refreshed.load(Ordering::Relaxed);
    format!("this worker's cache was refreshed {times} times\n")
}

fn main() -> ExitCode {
    App::new("schedule").agent(Clockwork).worker(Web).run()
}
