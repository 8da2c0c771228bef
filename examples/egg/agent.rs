//! The secretary: the one process that reads the file.

use std::time::Duration;

use hatchery::schedule::Schedule;
use hatchery::{Agent, AgentContext, BoxError, Messenger, async_trait};

use crate::arrow;
use crate::config::{self, Current, TOPIC, Version};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Secretary {
    current: Current,
}

#[async_trait]
impl Agent for Secretary {
    async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        arrow("Master", "fork agent", "Agent");
        let config = config::read()?;
        self.current.set(Version {
            agent: context.incarnation(),
            number: 1,
            config,
        });
        answer(context.messenger(), self.current.clone())?;
        arrow("Agent", "agent ready", "Master");
        Ok(())
    }

    fn schedules(&self) -> Vec<Schedule> {
        vec![Schedule::cron("rounds", "*/10 * * * * *")]
    }

    async fn egg_ready(&mut self, context: &AgentContext) -> Result<(), BoxError> {
        arrow("Master", "Egg ready", "Agent");
        // Everybody is there. If this is not the first agent, they know what another one has read.
        if let Some(version) = self.current.get() {
            context.messenger().send_to_workers(TOPIC, &version)?;
        }
        tokio::spawn(watch(context.messenger().clone(), self.current.clone()));
        Ok(())
    }

    async fn before_close(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
        arrow("Agent", "closed", "Master");
        Ok(())
    }
}

/// Tells whoever asks: a worker that has begun later than the others.
fn answer(messenger: &Messenger, current: Current) -> Result<(), BoxError> {
    let mut questions = messenger.subscribe(TOPIC)?;
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(version) = current.get() {
                // Whoever asked may be gone.
                let _ = question.reply(&version).await;
            }
        }
    });
    Ok(())
}

/// Tells all workers what has changed. A file that is wrong changes nothing.
async fn watch(messenger: Messenger, current: Current) {
    let mut interval = tokio::time::interval(INTERVAL);
    let mut complained = false;
    loop {
        interval.tick().await;
        let Some(known) = current.get() else {
            continue;
        };
        let config = match config::read() {
            Ok(config) => config,
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!("{error}; the old one stays");
                }
                continue;
            }
        };
        complained = false;
        if config != known.config {
            let version = Version {
                number: known.number + 1,
                config,
                ..known
            };
            current.set(version.clone());
            arrow("Agent", "configuration", "Workers");
            if let Err(error) = messenger.send_to_workers(TOPIC, &version) {
                tracing::warn!("the workers are not told: {error}");
            }
        }
    }
}
