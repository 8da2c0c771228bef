//! What a worker may know about itself and its cluster.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use hatchery_protocol::child::fleet::FleetClient;
use hatchery_protocol::child::job::Handler;
use hatchery_protocol::child::{BoxError, Child, Context, Job, Messenger};
use hatchery_protocol::id::Slot;
use tokio::net::UdpSocket;

use crate::Incoming;
use crate::jobs::Jobs;
use crate::listeners::Listeners;

/// Who this worker is, and how it hears of its cluster. Cheap to clone: handlers take their own.
///
/// Most is in the [`Context`] that it dereferences to.
#[derive(Debug, Clone)]
pub struct WorkerContext(Arc<Facts>);

/// All of it behind one reference count: axum clones a handler's state for every request.
#[derive(Debug)]
struct Facts {
    context: Context,
    listeners: Listeners,
    jobs: Jobs,
}

impl WorkerContext {
    pub(crate) fn new(child: &Child, listeners: Listeners) -> Self {
        Self(Arc::new(Facts {
            context: Context::new(child),
            listeners,
            jobs: Jobs::new(child.runs()),
        }))
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.0.listeners
    }

    /// The worker's number, `0..N-1`. A replacement has the same one, so during a replacement there are
    /// two processes of it for a moment.
    pub fn slot(&self) -> Slot {
        // `Origin::boot` refuses a seat of another role, so a worker always has a slot.
        self.seat().slot().unwrap_or_default()
    }

    /// Names a job that the agent's schedules may run here. To be called in [`Worker::start`](crate::Worker::start):
    /// a worker that does not know a job that a schedule needs fails to start.
    ///
    /// A run that fails, panics or takes longer than the schedule allows is the schedule's affair: it is logged and shown
    /// by `schedule list`, and the worker goes on. A worker that leaves finishes its runs in the time it has to drain;
    /// [`Job::closing`] is cancelled then. Several runs may go on at once; long computing belongs into
    /// `tokio::task::spawn_blocking`, for it would keep requests waiting.
    ///
    /// ```
    /// use axum::Router;
    /// use hatchery_worker::{BoxError, Worker, WorkerContext};
    ///
    /// struct Reports;
    ///
    /// #[async_trait::async_trait]
    /// impl Worker for Reports {
    ///     async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
    ///         context.job("report", |job| async move {
    ///             println!("run {} of {}", job.number(), job.schedule());
    ///             Ok(())
    ///         });
    ///         Ok(Router::new())
    ///     }
    /// }
    /// ```
    pub fn job<F, R>(&self, name: impl Into<String>, code: F)
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.jobs().register(name.into(), Handler::new(code));
    }

    /// Takes the connections of a listener for a protocol of the application's own, instead of HTTP. The
    /// listener is meant by its name (`--listen '127.0.0.1:7070?name=lines'`) or, if it has none, by its
    /// address as `status` shows it; several of one name are taken together.
    ///
    /// Name it if the server speaks first: clients of a TCP address without a name are accepted when they have
    /// said something, or after a second (the option `defer`).
    ///
    /// To be called in [`Worker::start`](crate::Worker::start): what is not taken when that has returned and
    /// every process is ready serves HTTP. `None`: there is no such listener, or it is taken already.
    ///
    /// ```
    /// use axum::Router;
    /// use hatchery_worker::{BoxError, Worker, WorkerContext};
    /// use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, split};
    ///
    /// struct Lines;
    ///
    /// #[async_trait::async_trait]
    /// impl Worker for Lines {
    ///     async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
    ///         let mut lines = context.take_listener("lines").ok_or("no address is named lines")?;
    ///         let shutdown = context.shutdown().clone();
    ///         tokio::spawn(async move {
    ///             while let Some(stream) = lines.next().await {
    ///                 let shutdown = shutdown.clone();
    ///                 tokio::spawn(async move {
    ///                     let (reader, mut writer) = split(stream);
    ///                     let mut lines = BufReader::new(reader).lines();
    ///                     loop {
    ///                         tokio::select! {
    ///                             line = lines.next_line() => match line {
    ///                                 Ok(Some(line)) if writer.write_all(line.as_bytes()).await.is_ok() => {}
    ///                                 _ => return,
    ///                             },
    ///                             () = shutdown.cancelled() => return,
    ///                         }
    ///                     }
    ///                 });
    ///             }
    ///         });
    ///         Ok(Router::new())
    ///     }
    /// }
    /// ```
    pub fn take_listener(&self, name: &str) -> Option<Incoming> {
        self.listeners().take(name)
    }

    /// The UDP sockets of that name (`--listen 'udp:127.0.0.1:5353?name=dns'`), or of that address as
    /// `status` shows it. Empty: there is none.
    ///
    /// Every worker has the same socket, and the master keeps it: it is open as long as the cluster runs. A
    /// datagram goes to one worker, whichever the kernel wakes. Read from it from
    /// [`egg_ready`](crate::Worker::egg_ready) on, when everybody is ready, and stop when
    /// [`shutdown`](Context::shutdown) is cancelled: what comes then is another worker's. To read from it is
    /// to take: what was read and is not answered is lost.
    ///
    /// ```
    /// use axum::Router;
    /// use hatchery_worker::{BoxError, Worker, WorkerContext};
    ///
    /// struct Echo;
    ///
    /// #[async_trait::async_trait]
    /// impl Worker for Echo {
    ///     async fn start(&mut self, _context: &WorkerContext) -> Result<Router, BoxError> {
    ///         Ok(Router::new())
    ///     }
    ///
    ///     async fn egg_ready(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
    ///         for socket in context.udp_sockets("echo") {
    ///             let shutdown = context.shutdown().clone();
    ///             tokio::spawn(shutdown.run_until_cancelled_owned(async move {
    ///                 let mut datagram = [0; 2048];
    ///                 while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
    ///                     let _ = socket.send_to(&datagram[..length], from).await;
    ///                 }
    ///             }));
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn udp_sockets(&self, name: &str) -> Vec<Arc<UdpSocket>> {
        self.listeners().udp(name)
    }
}

/// So that a handler of a router with the context as its state can ask for `State<Messenger>`.
///
/// ```
/// use axum::extract::State;
/// use axum::routing::post;
/// use axum::{Router, http::StatusCode};
/// use hatchery_protocol::child::Messenger;
/// use hatchery_worker::{BoxError, Worker, WorkerContext};
///
/// struct Cache;
///
/// async fn clear(State(messenger): State<Messenger>) -> StatusCode {
///     match messenger.broadcast("cache-cleared", &()) {
///         Ok(_) => StatusCode::NO_CONTENT,
///         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl Worker for Cache {
///     async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
///         Ok(Router::new().route("/clear", post(clear)).with_state(context.clone()))
///     }
/// }
/// ```
impl FromRef<WorkerContext> for Messenger {
    fn from_ref(context: &WorkerContext) -> Self {
        context.messenger().clone()
    }
}

/// So that a handler can ask for `State<FleetClient>`, likewise.
impl FromRef<WorkerContext> for FleetClient {
    fn from_ref(context: &WorkerContext) -> Self {
        context.fleet().clone()
    }
}

impl Deref for WorkerContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.0.context
    }
}
