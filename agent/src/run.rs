//! The life of an agent process, from its boot to its exit code.

use hatchery_protocol::child::life::{self, Life, StandDown};
use hatchery_protocol::child::{BoxError, Child, Draining, Shutdown};
use hatchery_protocol::exit::Exit;

use crate::{Agent, AgentContext, leader, state};

/// Lives the agent's life to its end. The returned code is what `main` should end with.
///
/// The runtime has one thread: an agent waits more than it computes, and what it does compute belongs
/// into `tokio::task::spawn_blocking`. Tasks that are still running at the end are dropped, and blocking
/// ones are left behind: the process is over when this returns.
///
/// `version` is the application's own, for what tells others about it.
pub fn run(child: Child, agent: Box<dyn Agent>, version: Option<String>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread()
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
}

impl Life for AgentLife {
    const TRAIT: &'static str = "Agent";

    async fn start(&mut self) -> Result<(), BoxError> {
        // Before anybody can ask.
        state::serve(self.context.messenger())?;
        leader::serve((*self.context).clone(), self.context.leaders().clone())?;
        self.agent.start(&self.context).await
    }

    async fn egg_ready(&mut self) -> Result<(), BoxError> {
        self.agent.egg_ready(&self.context).await
    }

    async fn stand_down(&mut self) -> Result<StandDown, BoxError> {
        self.agent.stand_down(&self.context).await
    }

    async fn drain(&mut self, _order: Draining) {
        self.shutdown.token().cancel();
    }

    async fn before_close(&mut self) -> Result<(), BoxError> {
        let closed = self.agent.before_close(&self.context).await;
        #[cfg(feature = "fleet")]
        self.context.fleet().leave().await;
        closed
    }
}
