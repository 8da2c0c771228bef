//! A new master in the place of this one, on the same addresses.
//!
//! The new master starts its agent and its workers and then waits: this one serves on. When all of them
//! are ready, the agent here stands down, the new master is told to commit, and when it serves, everybody
//! here finishes. Until then every failure leads back: the new master is gone with all its processes
//! before an agent here is on duty again.

use std::time::Duration;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;

use super::action::Action;
use super::cluster::{Course, Supervisor};
use super::event::{Now, Order, SuccessorNews};
use super::stop::TOO_LATE;

/// How long a new master may take from the permission to serve until it does: its processes are ready.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// An upgrade that goes on.
#[derive(Debug, Clone)]
pub(super) struct Upgrade {
    /// Who waits for the outcome, until it is known.
    order: Option<Order>,
    step: Step,
}

#[derive(Debug, Clone)]
enum Step {
    /// The new master starts its processes.
    Starting {
        /// When that has taken too long.
        deadline: Option<Now>,
    },
    /// All of them are ready; the agent here stops what may run only once.
    StandingDown,
    /// Everything is the new master's, but it does not serve yet.
    Committed {
        /// When that has taken too long.
        deadline: Now,
    },
    /// The new master is to go.
    Ending {
        /// Whether its agent may be on duty.
        committed: bool,
        reason: String,
        /// When asking was enough.
        deadline: Option<Now>,
    },
}

impl Supervisor {
    pub(super) fn on_upgrade(
        &mut self,
        now: Now,
        order: Order,
        origin: String,
        out: &mut Vec<Action>,
    ) {
        let refusal = match self.refusal() {
            None if self.reload.is_some() => Some("a reload is going on"),
            None if self.scaling.is_going_on() => Some("the number of workers is being changed"),
            refusal => refusal,
        };
        if let Some(refusal) = refusal {
            let outcome = Err(refusal.to_owned());
            return out.push(Action::Finished { order, outcome });
        }
        let timeout = self.policy.upgrade_timeout;
        self.upgrade = Some(Upgrade {
            order: Some(order),
            step: Step::Starting {
                deadline: (!timeout.is_zero()).then(|| now + timeout),
            },
        });
        self.record(out, EventName::UpgradeStarted, Some(origin));
        out.push(Action::LaunchSuccessor { order });
    }

    pub(super) fn on_successor(&mut self, now: Now, news: SuccessorNews, out: &mut Vec<Action>) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        match (news, &upgrade.step) {
            (SuccessorNews::Ready, Step::Starting { .. }) => upgrade.step = Step::StandingDown,
            (SuccessorNews::Serving, Step::Committed { .. }) => self.finish_upgrade(now, out),
            (SuccessorNews::Gone { .. }, Step::Ending { reason, .. }) => {
                let reason = reason.clone();
                self.fail_upgrade(reason, out);
                self.upgrade = None;
            }
            (SuccessorNews::Gone { reason }, _) => {
                self.fail_upgrade(format!("the new master is gone: {reason}"), out);
                self.upgrade = None;
            }
            (SuccessorNews::Launched { .. } | SuccessorNews::Ready | SuccessorNews::Serving, _) => {
            }
        }
    }

    fn finish_upgrade(&mut self, now: Now, out: &mut Vec<Action>) {
        self.record(out, EventName::UpgradeFinished, None);
        if let Some(order) = self.upgrade.take().and_then(|upgrade| upgrade.order) {
            let outcome = Ok(());
            out.push(Action::Finished { order, outcome });
        }
        if let Course::Serving = self.course {
            let reason = "a new master serves".to_owned();
            self.record(out, EventName::Stopping, Some(reason));
            self.leave(now, Exit::Orderly, false);
            out.push(Action::HandOverListeners);
        }
    }

    /// Answers whoever asked, once.
    fn fail_upgrade(&mut self, reason: String, out: &mut Vec<Action>) {
        let order = self
            .upgrade
            .as_mut()
            .and_then(|upgrade| upgrade.order.take());
        if let Some(order) = order {
            self.record(out, EventName::UpgradeFailed, Some(reason.clone()));
            let outcome = Err(reason);
            out.push(Action::Finished { order, outcome });
        }
    }

    /// Whether what may run only once is not for an agent of this master's now.
    pub(super) fn agent_is_withheld(&self) -> bool {
        match self.upgrade.as_ref().map(|upgrade| &upgrade.step) {
            Some(Step::StandingDown | Step::Committed { .. }) => true,
            Some(Step::Ending { committed, .. }) => *committed,
            Some(Step::Starting { .. }) | None => false,
        }
    }

    pub(super) fn advance_upgrade(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.upgrade.as_ref().map(|upgrade| &upgrade.step) {
            Some(Step::Starting {
                deadline: Some(deadline),
            }) if *deadline <= now => {
                let reason = "the new master was not ready in time".to_owned();
                self.end_successor(now, reason, false, out);
            }
            Some(Step::StandingDown) if self.agent_is_on_duty() => {
                self.ask_to_stand_down(now, out);
            }
            Some(Step::StandingDown) => {
                let deadline = now + COMMIT_PATIENCE;
                if let Some(upgrade) = &mut self.upgrade {
                    upgrade.step = Step::Committed { deadline };
                }
                out.push(Action::Commit);
            }
            Some(Step::Committed { deadline }) if *deadline <= now => {
                let reason = "the new master did not serve in time".to_owned();
                self.end_successor(now, reason, false, out);
            }
            Some(Step::Ending {
                deadline: Some(deadline),
                ..
            }) if *deadline <= now => self.kill_successor(out),
            Some(Step::Starting { .. } | Step::Committed { .. } | Step::Ending { .. }) | None => {}
        }
    }

    fn end_successor(&mut self, now: Now, reason: String, at_once: bool, out: &mut Vec<Action>) {
        let deadline = now + self.policy.drain_timeout + self.policy.kill_after;
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        let committed = match &upgrade.step {
            // It was told already.
            Step::Ending { .. } => return,
            Step::Committed { .. } => true,
            Step::Starting { .. } | Step::StandingDown => false,
        };
        upgrade.step = Step::Ending {
            committed,
            reason,
            deadline: (!at_once).then_some(deadline),
        };
        out.push(Action::EndSuccessor { at_once });
    }

    fn kill_successor(&mut self, out: &mut Vec<Action>) {
        if let Some(Upgrade {
            step: Step::Ending { deadline, .. },
            ..
        }) = &mut self.upgrade
            && deadline.take().is_some()
        {
            out.push(Action::EndSuccessor { at_once: true });
        }
    }

    /// In a stop the new master has as much time as everybody else.
    pub(super) fn press_successor(
        &mut self,
        now: Now,
        stop_by: Now,
        at_once: bool,
        out: &mut Vec<Action>,
    ) {
        let kill_at = stop_by + self.policy.kill_after;
        if let Some(Upgrade {
            step:
                Step::Ending {
                    deadline: Some(deadline),
                    ..
                },
            ..
        }) = &mut self.upgrade
        {
            *deadline = (*deadline).min(kill_at);
            if at_once || *deadline <= now {
                self.kill_successor(out);
            }
        }
    }

    /// A stop wins.
    pub(super) fn give_up_upgrade(&mut self, now: Now, at_once: bool, out: &mut Vec<Action>) {
        self.fail_upgrade(TOO_LATE.to_owned(), out);
        self.end_successor(now, TOO_LATE.to_owned(), at_once, out);
    }

    pub(super) fn upgrade_deadline(&self) -> Option<Now> {
        match self.upgrade.as_ref().map(|upgrade| &upgrade.step)? {
            Step::Starting { deadline } | Step::Ending { deadline, .. } => *deadline,
            Step::Committed { deadline } => Some(*deadline),
            Step::StandingDown => None,
        }
    }
}
