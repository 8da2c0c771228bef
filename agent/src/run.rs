//! The life of an agent process, from its boot to its exit code.

use hatchery_protocol::child::life::{self, Life, StandDown};
use hatchery_protocol::child::{BoxError, Child, Draining, Shutdown, thread};
use hatchery_protocol::clock::monotonic;
use hatchery_protocol::exit::Exit;
use std::time::Duration;

use crate::schedule::Office;
use crate::{Agent, AgentContext, leader, state};

/// How long runs in the agent have when another one is about to take over. The hook `stand_down` has to fit into the
/// same second.
const STAND_DOWN: Duration = Duration::from_millis(400);

/// Lives the agent's life to its end. The returned code is what `main` should end with.
///
/// The runtime has one thread: an agent waits more than it computes, and what it does compute belongs
/// into `tokio::task::spawn_blocking`. Tasks that are still running at the end are dropped, and blocking
/// ones are left behind: the process is over when this returns.
///
/// `version` is the application's own, for what tells others about it.
pub fn run(child: Child, agent: Box<dyn Agent>, version: Option<String>) -> Exit {
    let seat = child.boot().child.seat;
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .on_thread_start(move || thread::work_for(seat))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the agent's runtime could not be started: {error}");
            return Exit::Internal;
        }
    };
    let entered = runtime.enter();
    let life = AgentLife {
        context: AgentContext::new(&child, version),
        shutdown: child.shutdown(),
        office: Office::new(&child),
        agent,
    };
    drop(entered);
    let exit = runtime.block_on(life::run(child, life));
    // Not dropped: that would wait for blocking tasks, which nobody can interrupt.
    runtime.shutdown_background();
    exit
}

struct AgentLife {
    agent: Box<dyn Agent>,
    context: AgentContext,
    shutdown: Shutdown,
    office: Office,
}

impl Life for AgentLife {
    const TRAIT: &'static str = "Agent";

    async fn start(&mut self) -> Result<(), BoxError> {
        // Before anybody can ask.
        state::serve(self.context.messenger())?;
        leader::serve((*self.context).clone(), self.context.leaders().clone())?;
        #[cfg(feature = "fleet")]
        crate::fleet::serve(self.context.fleet(), self.context.messenger())?;
        self.agent.start(&self.context).await?;
        Ok(self.office.take(self.agent.schedules())?)
    }

    async fn egg_ready(&mut self) -> Result<(), BoxError> {
        self.office
            .open(&self.context)
            .map_err(|error| format!("schedules cannot begin: {error}"))?;
        self.agent.egg_ready(&self.context).await
    }

    async fn config_changed(&mut self) -> Result<(), BoxError> {
        self.agent.config_changed(&self.context).await
    }

    async fn stand_down(&mut self) -> Result<StandDown, BoxError> {
        self.office.close(STAND_DOWN).await;
        self.agent.stand_down(&self.context).await
    }

    async fn drain(&mut self, order: Draining) {
        self.shutdown.token().cancel();
        let left = order.deadline.saturating_sub(monotonic());
        tokio::select! {
            () = self.office.close(left) => {}
            // Sooner than it was said at first.
            hastened = self.shutdown.hastened(order) => {
                let left = hastened.deadline.saturating_sub(monotonic());
                self.office.close(left).await;
            }
        }
    }

    async fn before_close(&mut self) -> Result<(), BoxError> {
        let closed = self.agent.before_close(&self.context).await;
        #[cfg(feature = "fleet")]
        self.context.fleet().leave().await;
        closed
    }
}
