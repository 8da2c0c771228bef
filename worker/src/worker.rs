//! What an author implements.

use async_trait::async_trait;
use axum::Router;
use hatchery_protocol::child::BoxError;

use crate::WorkerContext;

/// The code of an application that answers requests.
///
/// A hook that returns an error, panics or takes longer than its limit ends the process: before the
/// cluster is ready that ends the start, after it the worker is replaced while the others go on serving.
///
/// Hooks never overlap. A stop drops a `start` or an `egg_ready` that is still under way at its next
/// `.await`; `before_close` is called if `start` had returned.
///
/// ```
/// use axum::{Router, routing::get};
/// use hatchery_worker::{BoxError, Worker, WorkerContext};
///
/// struct Hello;
///
/// #[async_trait::async_trait]
/// impl Worker for Hello {
///     async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
///         let greeting = format!("Hello from slot {}", context.slot());
///         Ok(Router::new().route("/", get(move || async move { greeting.clone() })))
///     }
/// }
/// ```
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Prepares the worker and returns what it serves. The agent is ready when this is called; no
    /// request comes before every process is.
    ///
    /// # Errors
    ///
    /// Whatever keeps the worker from serving. The process ends and the error is quoted to the operator.
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError>;

    /// Whether handlers can extract [`ConnectInfo`](axum::extract::ConnectInfo) of
    /// [`ClientInfo`](crate::ClientInfo) and of `SocketAddr`. Asked once, when the worker begins to serve.
    ///
    /// Off unless this returns `true`, because it costs each request an allocation, needed or not.
    fn connect_info(&self) -> bool {
        false
    }

    /// Every process of the cluster is ready, and requests may come while this runs. Once in the life of
    /// a process; a worker that replaces another gets its own.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start); requests in flight are served to the end, then the worker is
    /// replaced.
    async fn egg_ready(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// The last chance to say goodbye to other systems. No request is in flight any more, unless the
    /// drain ran into its deadline.
    ///
    /// # Errors
    ///
    /// Logged. The process leaves all the same.
    async fn before_close(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }
}
