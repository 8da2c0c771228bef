//! An agent that does nothing but fail when asked.

use hatchery::{Agent, AgentContext, BoxError, async_trait};

use crate::settings::Settings;
use crate::trace::{Hook, Trace};

#[derive(Default)]
pub(crate) struct PlaygroundAgent {
    settings: Settings,
    trace: Trace,
}

#[async_trait]
impl Agent for PlaygroundAgent {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        self.trace = Trace::open("agent", None)?;
        self.trace.enter(Hook::Start)?;
        self.trace.follow(context.members())?;
        self.settings = Settings::read()?;
        self.settings.agent_start.happen().await
    }

    async fn egg_ready(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        self.trace.enter(Hook::EggReady)?;
        self.settings.agent_egg_ready.happen().await
    }

    async fn before_close(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        self.trace.enter(Hook::BeforeClose)?;
        self.settings.before_close.happen().await
    }
}
