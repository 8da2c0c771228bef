//! What an author implements.

use async_trait::async_trait;
use hatchery_protocol::child::BoxError;
use hatchery_protocol::child::life::StandDown;

use crate::AgentContext;
use crate::schedule::Schedule;

/// The code of an application that must exist once per host.
///
/// A hook that returns an error, panics or takes longer than its limit ends the process: before the
/// cluster is ready that ends the start, after it the agent is replaced while the workers go on serving.
///
/// Hooks never overlap. A stop drops a `start` or an `egg_ready` that is still under way at its next
/// `.await`; `before_close` is called if `start` had returned.
///
/// ```
/// use hatchery_agent::{Agent, AgentContext, BoxError};
///
/// #[derive(Default)]
/// struct Clock {
///     ticking: Option<tokio::task::JoinHandle<()>>,
/// }
///
/// #[async_trait::async_trait]
/// impl Agent for Clock {
///     async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
///         Ok(())
///     }
///
///     async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
///         let shutdown = context.shutdown().clone();
///         self.ticking = Some(tokio::spawn(async move {
///             let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
///             loop {
///                 tokio::select! {
///                     _ = second.tick() => { /* once per host, not once per worker */ }
///                     () = shutdown.cancelled() => break,
///                 }
///             }
///         }));
///         Ok(())
///     }
///
///     async fn before_close(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
///         // Tasks that are still running after this are dropped: see this one end.
///         if let Some(ticking) = self.ticking.take() {
///             ticking.await?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// Prepares the agent. Workers are started when this has returned, so what they rely on belongs here.
    ///
    /// Long work belongs into a task: this has to return within the agent's start timeout.
    ///
    /// # Errors
    ///
    /// Whatever keeps the agent from working. The process ends and the error is quoted to the operator.
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError>;

    /// What is to be run at certain times, once per host. Asked for once, when [`start`](Self::start) has returned.
    /// What makes no sense fails the start.
    ///
    /// ```
    /// use std::time::Duration;
    /// use hatchery_agent::schedule::Schedule;
    /// use hatchery_agent::{Agent, AgentContext, BoxError};
    ///
    /// struct Nightly;
    ///
    /// #[async_trait::async_trait]
    /// impl Agent for Nightly {
    ///     async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
    ///         Ok(())
    ///     }
    ///
    ///     fn schedules(&self) -> Vec<Schedule> {
    ///         vec![
    ///             // Run by a worker that has registered a job of that name.
    ///             Schedule::cron("report", "30 2 * * *").zone("Europe/Berlin"),
    ///             Schedule::every("sweep", Duration::from_secs(60)).in_agent(|_job| async { Ok(()) }),
    ///         ]
    ///     }
    /// }
    /// ```
    fn schedules(&self) -> Vec<Schedule> {
        Vec::new()
    }

    /// Every process of the cluster is ready, and addresses listen. Once in the life of a process; an
    /// agent that replaces another gets its own.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start); the agent is replaced.
    async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// A reload has brought another configuration of the application's own: `context.config()` gives it from now on. The workers of the
    /// reload have it already. Only after [`egg_ready`](Self::egg_ready), and not for what holds already; of several that come while another hook
    /// runs, for the newest alone. An agent that is started anew has the new values in [`start`](Self::start).
    ///
    /// ```
    /// use hatchery_agent::{Agent, AgentContext, BoxError};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Settings {
    ///     sweep_seconds: u64,
    /// }
    ///
    /// #[derive(Default)]
    /// struct Sweeper {
    ///     every: std::time::Duration,
    /// }
    ///
    /// impl Sweeper {
    ///     fn configure(&mut self, context: &AgentContext) -> Result<(), BoxError> {
    ///         let settings: Settings = context.config()?;
    ///         self.every = std::time::Duration::from_secs(settings.sweep_seconds);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// #[async_trait::async_trait]
    /// impl Agent for Sweeper {
    ///     async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
    ///         self.configure(context)
    ///     }
    ///
    ///     async fn config_changed(&mut self, context: &AgentContext) -> Result<(), BoxError> {
    ///         self.configure(context)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start): the agent is replaced by one that begins with the new values.
    async fn config_changed(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Another agent is about to take over, in an upgrade or in a reload with the agent. The new agent's
    /// [`egg_ready`](Self::egg_ready) comes when this one is out of office. Whatever must not run twice on a host
    /// (schedules, consumers of a queue, locks) has to have ended when this returns;
    /// [`AgentContext::standing_down`](hatchery_protocol::child::Context::standing_down) is cancelled already. Once
    /// in the life of a process at most, after `egg_ready`; one that is still under way is dropped at its next
    /// `.await`. There is about a second, then the process is killed.
    ///
    /// Without an implementation the agent [leaves altogether](StandDown::Leave): `before_close` is called, and
    /// the new agent takes over when the process is gone. Return [`StandDown::Stay`] if workers that finish their
    /// requests need this agent to the end.
    ///
    /// Whatever this returns, the agent will not be in office again: should the handover fail after this, a fresh
    /// one takes its place.
    ///
    /// ```
    /// use hatchery_agent::{Agent, AgentContext, BoxError, StandDown};
    ///
    /// #[derive(Default)]
    /// struct Clock {
    ///     ticking: Option<tokio::task::JoinHandle<()>>,
    /// }
    ///
    /// #[async_trait::async_trait]
    /// impl Agent for Clock {
    ///     async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
    ///         Ok(())
    ///     }
    ///
    ///     async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
    ///         let out_of_office = context.standing_down().clone();
    ///         self.ticking = Some(tokio::spawn(async move {
    ///             let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
    ///             loop {
    ///                 tokio::select! {
    ///                     _ = second.tick() => { /* never on two agents at once */ }
    ///                     () = out_of_office.cancelled() => break,
    ///                 }
    ///             }
    ///         }));
    ///         Ok(())
    ///     }
    ///
    ///     async fn stand_down(&mut self, _context: &AgentContext) -> Result<StandDown, BoxError> {
    ///         if let Some(ticking) = self.ticking.take() {
    ///             ticking.await?;
    ///         }
    ///         Ok(StandDown::Stay)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Logged. The process leaves, and the new agent takes over when it is gone.
    async fn stand_down(&mut self, context: &AgentContext) -> Result<StandDown, BoxError> {
        let _ = context;
        Ok(StandDown::Leave)
    }

    /// The last chance to say goodbye to other systems.
    /// [`AgentContext::shutdown`](hatchery_protocol::child::Context::shutdown) is cancelled already.
    ///
    /// # Errors
    ///
    /// Logged. The process leaves all the same.
    async fn before_close(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }
}

/// The agent of an application that needs none: it is ready at once and does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAgent;

#[async_trait]
impl Agent for NoAgent {
    async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        Ok(())
    }
}
