//! Was anything done that must not be? Each action is looked at when it is given.

use hatchery_master::supervisor::{Action, Note, Now, Supervisor};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;

use crate::judge::{Addresses, Era, Judge};
use crate::rollout::{Successor, is_expected};

/// The rule that was broken, in words.
pub(crate) type Verdict = Result<(), String>;

pub(crate) fn ensure(rule_is_kept: bool, broken: impl FnOnce() -> String) -> Verdict {
    if rule_is_kept { Ok(()) } else { Err(broken()) }
}

impl Judge {
    /// Looks at everything that was done about the event heard last.
    pub(crate) fn judges(&mut self, now: Now, actions: &[Action], heart: &Supervisor) -> Verdict {
        let mut steps = std::mem::take(&mut self.steps).into_iter();
        self.truth.agent = heart.ready_agent();
        let mut previous: Option<EventName> = None;
        for action in actions {
            ensure(self.era != Era::Over, || format!("{action:?} after exit"))?;
            let announced = |event: EventName| {
                ensure(previous == Some(event), || {
                    format!("{action:?} unannounced")
                })
            };
            match action {
                Action::Spawn { child, generation } => self.may_spawn(now, *child, *generation)?,
                Action::Listen => self.may_listen()?,
                Action::EggReady { child } => self.may_hatch(*child)?,
                Action::Tell { to, news } => self.may_tell(heart.audience(*to), news)?,
                Action::Announce { child } => self.may_announce(*child)?,
                Action::Drain { child, budget } => {
                    announced(EventName::Draining)?;
                    self.may_drain(now, *child, *budget)?;
                }
                Action::Kill { child } => self.may_kill(now, *child)?,
                Action::CloseListeners => self.may_close(Successor::None)?,
                Action::HandOverListeners => self.may_close(Successor::Serves)?,
                Action::Stage { order } => self.may_stage(*order)?,
                Action::Adopt => self.may_adopt()?,
                Action::Unstage => self.may_unstage()?,
                Action::Slots { slots } => self.may_ask_for_slots(*slots)?,
                Action::Diagnose { child } => {
                    announced(EventName::Hung)?;
                    self.may_diagnose(now, *child)?;
                }
                Action::StandDown { child } => {
                    announced(EventName::StandingDown)?;
                    self.may_ask_to_stand_down(now, *child)?;
                }
                Action::LaunchSuccessor { .. } => self.may_launch()?,
                Action::Commit => self.may_commit()?,
                Action::EndSuccessor { at_once } => self.may_end_successor(*at_once)?,
                Action::Finished { order, outcome } => self.may_finish(*order, outcome.is_ok())?,
                Action::Record(Note {
                    event,
                    seat,
                    pid,
                    reason,
                    ..
                }) => {
                    if *event == EventName::Scaled {
                        self.is_scaled(reason.as_deref())?;
                    }
                    if *event == EventName::ReloadFinished {
                        self.is_reloaded()?;
                    }
                    if is_expected(*event) {
                        let expected = steps.next();
                        ensure(expected == Some((*event, *seat, *pid)), || {
                            format!("{event} {seat:?} was made known instead of {expected:?}")
                        })?;
                    }
                }
                Action::Exit { exit } => {
                    announced(EventName::Stopped)?;
                    self.may_exit(*exit)?;
                }
            }
            previous = None;
            if let Action::Record(note) = action {
                previous = Some(note.event);
            }
        }
        if let Some(step) = steps.next() {
            return Err(format!("{step:?} was not made known"));
        }
        self.steps = Vec::new();
        self.nothing_is_missing(now)?;
        self.agrees_with(now, heart)
    }

    fn may_listen(&mut self) -> Verdict {
        ensure(!self.asked_to_listen, || "listen twice".to_owned())?;
        ensure(self.is_starting() && self.all_ready(), || {
            "listen before all are ready".to_owned()
        })?;
        self.asked_to_listen = true;
        Ok(())
    }

    fn may_close(&mut self, successor: Successor) -> Verdict {
        ensure(matches!(self.era, Era::Stopping(_)), || {
            "closed too early".to_owned()
        })?;
        ensure(self.addresses == Addresses::Held, || {
            "closed twice".to_owned()
        })?;
        let handed_over = self.handed_over();
        ensure(handed_over == (successor == Successor::Serves), || {
            "whose are the addresses?".to_owned()
        })?;
        self.addresses = Addresses::GivenUp;
        Ok(())
    }

    fn may_exit(&mut self, exit: Exit) -> Verdict {
        let Era::Stopping(stop) = self.era else {
            return Err("the master exits, but nobody wanted it to stop".to_owned());
        };
        if let Some(child) = self.children.values().next() {
            return Err(format!("the master exits, {} is still there", child.id));
        }
        let gone = matches!(self.rollout.successor, Successor::None | Successor::Serves);
        ensure(gone, || {
            "the master exits, the new one is still there".to_owned()
        })?;
        self.all_answered()?;
        ensure(exit == stop.exit, || {
            format!("{exit:?} instead of {:?}", stop.exit)
        })?;
        self.tally.at_once += u64::from(stop.at_once.is_some());
        match exit.code() {
            0 => self.tally.exits_0 += 1,
            3 => self.tally.exits_3 += 1,
            _ => self.tally.exits_5 += 1,
        }
        self.era = Era::Over;
        Ok(())
    }
}
