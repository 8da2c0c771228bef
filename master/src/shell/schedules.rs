//! Schedules: what the agent says is kept, and what operators want is passed on.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};

use hatchery_protocol::id::{ChildId, Seat};
use hatchery_protocol::message::ToChild;
use hatchery_protocol::schedule::{Command, ScheduleOrder};
use tokio::sync::oneshot;

use super::Shell;
use crate::ledger::{Answer, Ledger};
use crate::succession::Legacy;
use crate::supervisor::Event;

impl Shell {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent is about to be in office: it hears what the one before has done.
    pub(super) fn pass_schedules_on(&self, child: ChildId, events: &mut VecDeque<Event>) {
        if child.seat != Seat::Agent {
            return;
        }
        let known = {
            let mut ledger = self.ledger();
            ledger.in_office(child);
            ledger.known()
        };
        for status in known {
            let known = ToChild::Schedule(Box::new(ScheduleOrder::Known(status)));
            self.send(child, &known, events);
        }
    }

    /// The old master tells of schedules: what its agent left, and then how runs end in its workers.
    pub(super) fn inherit_schedules(&mut self, legacy: Legacy) {
        let ends = match legacy {
            Legacy::Schedule(status) => return self.ledger().inherit(*status),
            Legacy::RunEnded(end) => {
                self.ledger().ended(&end);
                vec![*end]
            }
            Legacy::Over => self.ledger().nobody_elsewhere(),
        };
        // Without one the next hears of it when it comes.
        let Some(agent) = self.ledger().office() else {
            return;
        };
        let mut events = VecDeque::new();
        for end in ends {
            let ended = ToChild::Schedule(Box::new(ScheduleOrder::Ended(end)));
            self.send(agent, &ended, &mut events);
        }
        for event in events {
            self.happen(event);
        }
    }

    /// An operator wants something of a schedule.
    pub(super) fn command_schedule(
        &mut self,
        name: String,
        command: Command,
        to: oneshot::Sender<Answer>,
    ) {
        let Some((child, number)) = self.ledger().ask(to) else {
            return;
        };
        let asked = ScheduleOrder::Asked {
            number,
            name,
            command,
        };
        let mut events = VecDeque::new();
        self.send(child, &ToChild::Schedule(Box::new(asked)), &mut events);
        for event in events {
            self.happen(event);
        }
    }
}
