//! The next generation of processes, and the number of slots: what the supervisor decided, done.

use std::collections::VecDeque;

use hatchery_protocol::id::Generation;
use hatchery_protocol::message::ToChild;

use super::Shell;
use super::run::policy;
use crate::config::Config;
use crate::executable::Executable;
use crate::supervisor::{Event, Order};

/// What the processes of one generation run and know.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) generation: Generation,
    pub(super) executable: Executable,
    pub(super) config: Config,
}

impl Shell {
    /// What a process of this generation is made of.
    pub(super) fn build(&self, generation: Generation) -> &Build {
        match &self.staged {
            Some(staged) if staged.generation == generation => staged,
            Some(_) | None => &self.adopted,
        }
    }

    /// Opens what is on disk now, and reads the configuration again.
    pub(super) fn stage(&mut self, order: Order) -> Event {
        self.orders.reload_notes.clear();
        let config = self.reread();
        let opened = self.program.open().map_err(|error| error.to_string());
        let (config, executable) = match config.and_then(|config| Ok((config, opened?))) {
            Ok(both) => both,
            Err(error) => return Event::StageFailed { order, error },
        };
        let policy = policy(&config, self.jitter_seed);
        self.newest += 1;
        self.staged = Some(Build {
            generation: self.newest,
            executable,
            config,
        });
        let policy = Box::new(policy);
        Event::Staged { order, policy }
    }

    fn reread(&mut self) -> Result<Config, String> {
        let reread = self.front.reread()?;
        let (config, mut fixed) = self.adopted.config.follow(reread.config);
        fixed.extend(reread.fixed);
        let notes: Vec<String> = fixed
            .iter()
            .map(|name| format!("`{name}` has changed; that takes effect with a restart"))
            .collect();
        for note in &notes {
            tracing::warn!("{note}");
        }
        self.orders.reload_notes = notes;
        Ok(config)
    }

    /// The next generation is the one that holds.
    pub(super) fn adopt(&mut self, events: &mut VecDeque<Event>) {
        let Some(staged) = self.staged.take() else {
            return;
        };
        let before = std::mem::replace(&mut self.adopted, staged);
        if before.config.section != self.adopted.config.section {
            self.configure_agent(events);
        }
        let config = &self.adopted.config;
        if let Some(handoff) = &self.handoff {
            let most = config.http.max_connections;
            handoff.rule(&self.listeners, &config.weights, most);
        }
        self.front.adopt(config);
    }

    /// The agent lives on over a reload, or is on its way to take over: it takes no notice of what it has been told already.
    fn configure_agent(&self, events: &mut VecDeque<Event>) {
        let section = self.adopted.config.section.clone();
        if let (Some(section), Some(agent)) = (section, self.supervisor.newest_agent()) {
            let section = Box::new(section);
            self.send(agent, &ToChild::Configure { section }, events);
        }
    }

    /// Makes the addresses ready for so many workers.
    pub(super) fn make_slots(&mut self, slots: u32) -> Event {
        let open = self.supervisor.is_serving();
        let made = self
            .listeners
            .iter_mut()
            .try_for_each(|listener| listener.set_slots(slots, open));
        // Also those of an attempt that failed halfway: clients may come to them already.
        if let Some(handoff) = &mut self.handoff {
            handoff.add_slots(&self.listeners);
        }
        match made {
            Ok(()) => {
                self.slots = slots;
                Event::SlotsReady { slots }
            }
            Err(error) => Event::SlotsFailed {
                slots,
                error: error.to_string(),
            },
        }
    }
}
