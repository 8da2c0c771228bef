//! An agent that has one thing to do which must not be done twice, and fails when asked.

use std::time::Duration;

use hatchery::schedule::Schedule;
use hatchery::{Agent, AgentContext, BoxError, StandDown, async_trait};
use tokio::task::JoinHandle;

use crate::jobs;
use crate::mail;
use crate::settings::Settings;
use crate::state;
use crate::trace::{self, Hook, Trace};

/// How often it writes that it is in office.
const TICK: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct PlaygroundAgent {
    settings: Settings,
    trace: Trace,
    in_office: Option<JoinHandle<()>>,
    #[cfg(feature = "fleet")]
    in_fleet: Option<JoinHandle<()>>,
    schedules: Vec<Schedule>,
}

#[async_trait]
impl Agent for PlaygroundAgent {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        self.trace = Trace::open("agent", None)?;
        self.trace.enter(Hook::Start)?;
        self.trace.follow(context.members())?;
        self.settings = Settings::read()?;
        self.schedules = jobs::schedules()?;
        mail::open(context.messenger())?;
        self.settings.agent_start()?.happen().await
    }

    fn schedules(&self) -> Vec<Schedule> {
        self.schedules.clone()
    }

    async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        self.trace.enter(Hook::EggReady)?;
        let mut office = trace::Office::open()?;
        tokio::spawn(state::sign(context.clone()));
        let out_of_office = context.standing_down().clone();
        self.in_office = Some(tokio::spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    () = out_of_office.cancelled() => return,
                    _ = tick.tick() => office.sign(),
                }
            }
        }));
        #[cfg(feature = "fleet")]
        {
            self.in_fleet = crate::fleet::join_in(context)?;
        }
        self.settings.agent_egg_ready.happen().await
    }

    async fn stand_down(&mut self, _context: &AgentContext) -> Result<StandDown, BoxError> {
        self.trace.enter(Hook::StandDown)?;
        if let Some(in_office) = self.in_office.take() {
            in_office.await?;
        }
        #[cfg(feature = "fleet")]
        if let Some(in_fleet) = self.in_fleet.take() {
            in_fleet.await?;
        }
        match self.settings.agent_stand_down {
            None => Ok(StandDown::Leave),
            Some(fault) => {
                fault.happen().await?;
                Ok(StandDown::Stay)
            }
        }
    }

    async fn before_close(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        self.trace.enter(Hook::BeforeClose)?;
        #[cfg(feature = "fleet")]
        if let Some(in_fleet) = self.in_fleet.take() {
            in_fleet.await?;
        }
        self.settings.before_close.happen().await
    }
}
