//! The agent: it keeps the number of visitors over restarts.

use std::path::PathBuf;
use std::time::Duration;

use hatchery::schedule::Schedule;
use hatchery::{Agent, AgentContext, BoxError, State, async_trait};

#[derive(Default)]
pub(crate) struct Secretary {
    state: Option<State>,
}

#[async_trait]
impl Agent for Secretary {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        self.state = Some(context.state());
        Ok(())
    }

    // Asked for after `start`.
    fn schedules(&self) -> Vec<Schedule> {
        let state = self.state.clone();
        let save = move |_job| save(state.clone());
        vec![Schedule::every("save", Duration::from_secs(10)).in_agent(save)]
    }

    // Everybody is ready, and the state can be used.
    async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        if let Ok(saved) = std::fs::read_to_string(file()) {
            let visitors: i64 = saved.trim().parse()?;
            context.state().add("visitors", visitors).await?;
        }
        Ok(())
    }

    // The workers are gone when this runs.
    async fn before_close(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        save(Some(context.state())).await
    }
}

async fn save(state: Option<State>) -> Result<(), BoxError> {
    let Some(state) = state else {
        return Ok(());
    };
    let visitors: i64 = state.get("visitors").await?.unwrap_or_default();
    // Renamed into its place: whoever reads it, finds a whole one.
    let new = file().with_extension("new");
    std::fs::write(&new, visitors.to_string())?;
    std::fs::rename(&new, file())?;
    Ok(())
}

fn file() -> PathBuf {
    std::env::var_os("GUESTBOOK_FILE").map_or_else(|| "visitors.txt".into(), PathBuf::from)
}
