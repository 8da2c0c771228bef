//! What every server of the benchmark that is written in Rust answers, so that they differ in one thing:
//! how a connection reaches the thread that serves it.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use rustix::time::{ClockId, clock_gettime};

/// What a request to `/burn` costs.
const BURN: Duration = Duration::from_millis(50);

/// `/` says hello, `/whoami` names the process that answers, `/burn` keeps a processor busy for 50 ms, `/echo`
/// sends back what is posted.
pub fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/whoami", get(|| async { std::process::id().to_string() }))
        .route("/burn", get(burn))
        .route("/echo", post(|body: String| async { body }))
}

/// Does not await anything: that is the point. It counts the thread's own time, so that a busy machine makes
/// it longer and not cheaper.
async fn burn() -> &'static str {
    let end = thread_time() + BURN;
    while thread_time() < end {
        std::hint::spin_loop();
    }
    "burnt"
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
