//! What surrounds the runner in a real agent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::child::ScheduleVoice;
use hatchery_protocol::child::job::{JOBS_TOPIC, JobRequest, LEAVING, Order};
use hatchery_protocol::child::messenger::{Messenger, RequestError, SendError, Target};
use hatchery_protocol::id::Slot;
use hatchery_protocol::schedule::{Outcome, ScheduleNews, ScheduleStatus};

use super::clock::{ClockWatch, now};
#[cfg(feature = "fleet")]
use super::plan::Plan;
#[cfg(feature = "fleet")]
use super::post;
#[cfg(feature = "fleet")]
use super::runner::Turn;
use super::runner::{Followed, Later, World};
use super::tick::Moment;
use crate::AgentContext;

/// A worker ends a run at its timeout itself. This is for one that cannot even say so.
const WORD: Duration = Duration::from_secs(5);

/// The machine, the master and the workers.
#[derive(Debug, Clone)]
pub(super) struct Host {
    clock: Arc<ClockWatch>,
    voice: ScheduleVoice,
    messenger: Messenger,
    #[cfg(feature = "fleet")]
    context: AgentContext,
}

impl Host {
    /// To be called on the runtime.
    pub(super) fn new(context: &AgentContext, voice: ScheduleVoice) -> io::Result<Self> {
        Ok(Self {
            clock: Arc::new(ClockWatch::new()?),
            voice,
            messenger: context.messenger().reserved(),
            #[cfg(feature = "fleet")]
            context: context.clone(),
        })
    }
}

impl World for Host {
    fn now(&self) -> Moment {
        now()
    }

    fn clock_set(&self) -> Later<()> {
        let clock = Arc::clone(&self.clock);
        Box::pin(async move { clock.set().await })
    }

    fn report(&self, status: ScheduleStatus) {
        self.voice.say(ScheduleNews::Changed(status));
    }

    fn answer(&self, order: u64, result: Result<(), String>) {
        let error = result.err();
        self.voice.say(ScheduleNews::Answer { order, error });
    }

    fn on_one(&self, order: Order) -> Later<Option<Outcome>> {
        let messenger = self.messenger.clone();
        Box::pin(async move {
            let deadline = order.timeout + WORD;
            let target = Target::RandomWorker;
            let request = JobRequest::Run(order);
            let asked = messenger.request(target, JOBS_TOPIC, &request, deadline);
            match asked.await {
                Ok(outcome) => Some(outcome),
                Err(error) => failure(error),
            }
        })
    }

    fn on_all(&self, order: Order) -> Later<Vec<(Slot, Outcome)>> {
        let messenger = self.messenger.clone();
        Box::pin(async move {
            let deadline = order.timeout + WORD;
            let request = JobRequest::Run(order);
            let asked = messenger.request_all(Target::Workers, JOBS_TOPIC, &request, deadline);
            let Ok(mut replies) = asked.await else {
                return Vec::new();
            };
            let mut outcomes = Vec::new();
            while let Some(reply) = replies.next().await {
                let slot = reply.from.seat.slot().unwrap_or_default();
                match reply.json() {
                    Ok(outcome) => outcomes.push((slot, outcome)),
                    // Who is about to leave is no worker of this run.
                    Err(error) => outcomes.extend(failure(error).map(|failed| (slot, failed))),
                }
            }
            outcomes
        })
    }

    fn follow(&self, run: Followed) -> Later<Vec<(Slot, Outcome)>> {
        let messenger = self.messenger.clone();
        Box::pin(async move {
            let deadline = run.timeout + WORD;
            let request = JobRequest::Follow {
                schedule: run.schedule,
                number: run.number,
            };
            // Those that drain are asked, too.
            let asked = messenger.request_all(Target::Workers, JOBS_TOPIC, &request, deadline);
            let Ok(mut replies) = asked.await else {
                return Vec::new();
            };
            let (mut known, mut silent) = (Vec::new(), Vec::new());
            while let Some(reply) = replies.next().await {
                let slot = reply.from.seat.slot().unwrap_or_default();
                match reply.json() {
                    Ok(Some(outcome)) => {
                        known.push((slot, outcome));
                        if !run.on_all {
                            return known;
                        }
                    }
                    // Who does not know it says so at once: who is gone instead has run it, by all that is known.
                    Err(error @ (RequestError::PeerGone(_) | RequestError::Timeout)) => {
                        silent.extend(failure(error).map(|failed| (slot, failed)));
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            known.extend(silent);
            known
        })
    }

    #[cfg(feature = "fleet")]
    fn in_fleet(&self) -> bool {
        self.context.fleet().is_configured()
    }

    #[cfg(feature = "fleet")]
    fn workers(&self, ready: bool) -> Later<()> {
        let mut members = self.context.members();
        Box::pin(async move {
            while members.now().workers.is_empty() == ready {
                if !members.changed().await {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    #[cfg(feature = "fleet")]
    fn turn(&self, plan: &Plan) -> Later<Arc<dyn Turn>> {
        let fleet = self.context.fleet().clone();
        Box::pin(post::turn(fleet, plan.name.to_string(), plan.when()))
    }
}

/// What an error says about the run. `None`: it has not begun, and may elsewhere.
fn failure(error: RequestError) -> Option<Outcome> {
    match error {
        RequestError::Send(SendError::NoSuchPeer(_)) => None,
        RequestError::Refused { reason, .. } if reason == LEAVING => None,
        RequestError::PeerGone(peer) => Some(Outcome::lost(format!("{peer} died or left"))),
        RequestError::Timeout => Some(Outcome::TimedOut),
        RequestError::Refused { from, reason } => {
            Some(Outcome::failed(format!("{from}: {reason}")))
        }
        error @ (RequestError::Send(_)
        | RequestError::Unanswered(_)
        | RequestError::Decode(_)
        | RequestError::Lost(_)
        | _) => Some(Outcome::failed(error.to_string())),
    }
}
