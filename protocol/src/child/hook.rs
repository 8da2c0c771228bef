//! Running an author's hook so that whatever it does has one defined result.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use thiserror::Error;

use super::BoxError;

/// How a hook failed, naming the hook.
#[derive(Debug, Error)]
pub enum HookError {
    /// It returned an error.
    #[error("{hook} failed: {message}")]
    Failed {
        /// The hook, as `Worker::start`.
        hook: String,
        /// The error and its sources.
        message: String,
    },
    /// It panicked.
    #[error("{hook} panicked: {message}")]
    Panicked {
        /// The hook.
        hook: String,
        /// The panic's message.
        message: String,
    },
    /// It took too long.
    #[error("{hook} did not finish within {limit:?}")]
    TimedOut {
        /// The hook.
        hook: String,
        /// How long it was given.
        limit: Duration,
    },
}

impl HookError {
    /// The hook's name.
    pub fn hook(&self) -> &str {
        match self {
            Self::Failed { hook, .. }
            | Self::Panicked { hook, .. }
            | Self::TimedOut { hook, .. } => hook,
        }
    }
}

/// Runs one hook for at most `limit`.
pub(super) async fn run<T>(
    hook: String,
    limit: Duration,
    future: impl Future<Output = Result<T, BoxError>> + Send,
) -> Result<T, HookError> {
    let guarded = AssertUnwindSafe(future).catch_unwind();
    match tokio::time::timeout(limit, guarded).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(HookError::Failed {
            hook,
            message: with_sources(&*error),
        }),
        Ok(Err(panic)) => Err(HookError::Panicked {
            hook,
            message: panic_message(&*panic),
        }),
        Err(_) => Err(HookError::TimedOut { hook, limit }),
    }
}

/// An error and everything behind it, on one line.
pub(super) fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(future: impl Future<Output = Result<(), BoxError>> + Send) -> String {
        run("Worker::start".to_owned(), Duration::from_secs(5), future)
            .await
            .map_or_else(|e| e.to_string(), |()| "ok".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn every_way_to_fail_has_a_sentence_with_the_hooks_name() {
        assert_eq!(outcome(async { Ok(()) }).await, "ok");
        assert_eq!(
            outcome(async { Err("no database".into()) }).await,
            "Worker::start failed: no database"
        );
        assert_eq!(
            outcome(async { panic!("boom {}", 1) }).await,
            "Worker::start panicked: boom 1"
        );
        assert_eq!(
            outcome(std::future::pending()).await,
            "Worker::start did not finish within 5s"
        );
    }
}
