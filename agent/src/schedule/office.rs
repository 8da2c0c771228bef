//! The schedules of an agent, from its start to its end.

use std::io;
use std::time::Duration;

use hatchery_protocol::child::{Child, ScheduleLink, ScheduleVoice};
use hatchery_protocol::schedule::{ScheduleNews, ScheduleOrder};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::book::Event;
use super::clock::now;
use super::host::Host;
use super::plan::{Plan, ScheduleError, check};
use super::runner::Runner;
use super::spec::{Schedule, Site};
use crate::AgentContext;

/// What an agent minds, once it is in office.
pub(crate) struct Office {
    link: Option<ScheduleLink>,
    plans: Vec<Plan>,
    runner: Option<Runner>,
    /// Passes on what operators ask.
    asking: Option<JoinHandle<()>>,
}

impl Office {
    pub(crate) fn new(child: &Child) -> Self {
        Self {
            link: Some(child.schedules()),
            plans: Vec::new(),
            runner: None,
            asking: None,
        }
    }

    /// Takes what the author wants, and has the master tell workers which jobs they have to know.
    pub(crate) fn take(&mut self, schedules: Vec<Schedule>) -> Result<(), ScheduleError> {
        self.plans = check(schedules, now().wall)?;
        let on_workers = |plan: &&Plan| !matches!(plan.site, Site::Agent(_));
        let jobs = self.plans.iter().filter(on_workers);
        let jobs: Vec<String> = jobs.map(|plan| plan.job.to_string()).collect();
        if let Some(link) = &self.link
            && !jobs.is_empty()
        {
            link.voice().say(ScheduleNews::Jobs { jobs });
        }
        Ok(())
    }

    /// The agent is in office: begin.
    pub(crate) fn open(&mut self, context: &AgentContext) -> io::Result<()> {
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        let voice = link.voice();
        let (mut previous, mut early) = (Vec::new(), Vec::new());
        while let Some(order) = link.come() {
            match order {
                ScheduleOrder::Known(status) => previous.push(status),
                order @ (ScheduleOrder::Asked { .. } | ScheduleOrder::Ended(_)) => {
                    early.push(order);
                }
            }
        }
        let host = Host::new(context, voice.clone())?;
        let names = self.plans.iter().map(|plan| plan.name.to_string());
        voice.say(ScheduleNews::Names {
            names: names.collect(),
        });
        // Any number that is another one in each process and on each host.
        let seed = u64::from(context.pid()) << 32 | u64::from(now().boot.subsec_nanos());
        let plans = std::mem::take(&mut self.plans);
        let runner = Runner::start(host, plans, &previous, seed);
        let teller = runner.teller();
        self.runner = Some(runner);
        self.asking = Some(tokio::spawn(async move {
            for order in early {
                pass_on(order, &teller, &voice);
            }
            while let Some(order) = link.next().await {
                pass_on(order, &teller, &voice);
            }
        }));
        Ok(())
    }

    /// Begins nothing any more, and sees what runs here end.
    pub(crate) async fn close(&mut self, grace: Duration) {
        if let Some(runner) = &mut self.runner {
            runner.close(grace).await;
        }
    }
}

/// What the master says, for the book.
fn pass_on(order: ScheduleOrder, teller: &mpsc::UnboundedSender<Event>, voice: &ScheduleVoice) {
    match order {
        ScheduleOrder::Asked {
            number: order,
            name,
            command,
        } => {
            let asked = Event::Asked {
                name,
                command,
                order,
            };
            if teller.send(asked).is_err() {
                let error = Some("the agent is about to be replaced: try again".to_owned());
                voice.say(ScheduleNews::Answer { order, error });
            }
        }
        ScheduleOrder::Ended(end) => {
            // An agent that is out of office need not know.
            let _ = teller.send(Event::Followed {
                name: end.schedule,
                number: end.number,
                outcome: end.outcome,
            });
        }
        // Before egg-ready only.
        ScheduleOrder::Known(_) => {}
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}
