//! Was anything done that must not be? Each action is looked at when it is given.

use hatchery_master::supervisor::{Action, News, Note, Now, Supervisor};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};

use crate::judge::{Era, Judge};
use crate::known::{Known, Patience, State};

/// The rule that was broken, in words.
pub(crate) type Verdict = Result<(), String>;

pub(crate) fn ensure(rule_is_kept: bool, broken: impl FnOnce() -> String) -> Verdict {
    if rule_is_kept { Ok(()) } else { Err(broken()) }
}

impl Judge {
    /// Looks at everything that was done about the event heard last.
    pub(crate) fn judges(&mut self, now: Now, actions: &[Action], heart: &Supervisor) -> Verdict {
        let mut steps = std::mem::take(&mut self.steps).into_iter();
        let mut previous: Option<&Action> = None;
        for action in actions {
            ensure(self.era != Era::Over, || format!("{action:?} after exit"))?;
            match action {
                Action::Spawn { child, .. } => self.may_spawn(now, *child)?,
                Action::Listen => self.may_listen()?,
                Action::EggReady { child } => self.may_hatch(*child)?,
                Action::Tell { to, news } => self.may_tell(to, news)?,
                Action::Announce { child } => self.may_announce(*child)?,
                Action::Drain { child, budget } => {
                    let announced = matches!(previous, Some(Action::Record(note))
                        if note.event == EventName::Draining && note.seat == Some(child.seat));
                    ensure(announced, || format!("{child} drains unannounced"))?;
                    self.may_drain(now, *child, *budget)?;
                }
                Action::Kill { child } => self.may_kill(now, *child)?,
                Action::CloseListeners => self.may_close()?,
                Action::HandOverListeners
                | Action::Stage { .. }
                | Action::Adopt
                | Action::Unstage
                | Action::Slots { .. }
                | Action::Diagnose { .. }
                | Action::StandDown { .. }
                | Action::LaunchSuccessor { .. }
                | Action::Commit
                | Action::EndSuccessor { .. }
                | Action::Finished { .. } => {
                    return Err(format!("{action:?}, which nobody asked for"));
                }
                Action::Record(Note {
                    event: EventName::Draining | EventName::Stopped,
                    ..
                }) => {}
                Action::Record(Note {
                    event, seat, pid, ..
                }) => {
                    let expected = steps.next();
                    ensure(expected == Some((*event, *seat, *pid)), || {
                        format!("{event} {seat:?} was made known instead of {expected:?}")
                    })?;
                }
                Action::Exit { exit } => {
                    let announced = matches!(previous, Some(Action::Record(note))
                        if note.event == EventName::Stopped);
                    ensure(announced, || "the end was not announced".to_owned())?;
                    self.may_exit(*exit)?;
                }
            }
            previous = Some(action);
        }
        if let Some(step) = steps.next() {
            return Err(format!("{step:?} was not made known"));
        }
        self.steps = Vec::new();
        self.nothing_is_missing(now)?;
        self.agrees_with(now, heart)
    }

    fn may_spawn(&mut self, now: Now, child: ChildId) -> Verdict {
        let seat = child.seat;
        let time = matches!(self.era, Era::Starting | Era::Serving);
        ensure(time, || format!("{child} is spawned at the wrong time"))?;
        ensure(self.seats().any(|s| s == seat), || {
            format!("there is no seat for {child}")
        })?;
        ensure(child.incarnation > self.newest, || {
            format!("{child} was there before")
        })?;
        ensure(seat == Seat::Agent || self.agent_was_ready, || {
            format!("{child} is spawned before an agent was ready")
        })?;
        if let Some(other) = self.children.get(&seat) {
            return Err(format!("{child} is spawned while {} is there", other.id));
        }
        if let Some(vacancy) = self.vacant.get(&seat).filter(|v| v.deaths > 1) {
            let backoff = &self.policy.backoff;
            let wait = backoff.first.as_secs_f64() * 1.5f64.powi(vacancy.deaths - 2);
            let wait = wait.min(backoff.cap.as_secs_f64()) * 0.9;
            let waited = now.saturating_sub(vacancy.since).as_secs_f64();
            ensure(waited >= wait - 1e-6, || {
                format!("{child} came after {waited} s of {wait} s")
            })?;
        }
        self.newest = child.incarnation;
        self.tally.spawns += 1;
        // Its boot message says who is ready.
        let known = Known::asked_for(child, self.truth.clone());
        self.children.insert(seat, known);
        Ok(())
    }

    fn may_listen(&mut self) -> Verdict {
        ensure(!self.asked_to_listen, || "listen twice".to_owned())?;
        ensure(self.is_starting() && self.all_ready(), || {
            "listen before all are ready".to_owned()
        })?;
        self.asked_to_listen = true;
        Ok(())
    }

    fn may_hatch(&mut self, child: ChildId) -> Verdict {
        ensure(self.serves(), || {
            format!("egg-ready to {child} before listening")
        })?;
        let Some(known) = self
            .children
            .get(&child.seat)
            .filter(|k| k.id == child && k.is_ready())
        else {
            return Err(format!("egg-ready to {child}, which is not ready"));
        };
        ensure(!known.hatched, || format!("egg-ready to {child} twice"))?;
        // News come first: whoever starts to work knows with whom.
        ensure(self.is_informed(known), || self.misinformed(known))?;
        if let Some(known) = self.known(child) {
            known.hatched = true;
        }
        Ok(())
    }

    fn may_announce(&mut self, child: ChildId) -> Verdict {
        ensure(self.serves() && self.announced.is_some(), || {
            format!("{child} hears of a stop that nobody wants")
        })?;
        let Some(known) = self.known(child).filter(|known| known.stays()) else {
            return Err(format!(
                "{child} hears of a stop, but is not there or leaves"
            ));
        };
        ensure(!known.forewarned, || {
            format!("{child} hears of the stop twice")
        })?;
        known.forewarned = true;
        Ok(())
    }

    fn may_tell(&mut self, to: &[ChildId], news: &News) -> Verdict {
        let time = matches!(self.era, Era::Starting | Era::Serving);
        ensure(time && !to.is_empty(), || format!("idle talk: {news:?}"))?;
        let true_news = match news {
            News::Agent(pid) => *pid == self.truth.agent,
            News::Workers(workers) => *workers == self.truth.workers,
        };
        ensure(true_news, || {
            format!("{news:?}, but it is {:?}", self.truth)
        })?;
        let serving = self.serves();
        for &child in to {
            let Some(known) = self.known(child).filter(|known| known.listens()) else {
                return Err(format!("{child} is told something, but does not listen"));
            };
            match news {
                News::Agent(pid) => known.belief.agent = *pid,
                News::Workers(workers) => {
                    ensure(serving || !known.is_worker(), || {
                        format!("{child} hears too early")
                    })?;
                    known.belief.workers.clone_from(workers);
                }
            }
        }
        Ok(())
    }

    fn may_drain(&mut self, now: Now, child: ChildId, budget: Now) -> Verdict {
        let Era::Stopping(stop) = self.era else {
            return Err(format!("{child} is drained, but nobody wants to stop"));
        };
        ensure(self.closed, || {
            format!("{child} is drained before the addresses are closed")
        })?;
        ensure(stop.at_once.is_none(), || {
            format!("{child} is drained instead of killed")
        })?;
        let worker_left = self.children.values().any(Known::is_worker);
        let mut expected = (stop.since + self.policy.drain_timeout).saturating_sub(now);
        if child.seat == Seat::Agent {
            ensure(!worker_left, || {
                format!("{child} is drained before the workers are gone")
            })?;
            expected = expected.max(self.policy.kill_after);
        }
        ensure(budget == expected, || {
            format!("{child} gets {budget:?} of {expected:?}")
        })?;
        let end = now + budget + self.policy.kill_after;
        let Some(known) = self.known(child).filter(|known| known.stays()) else {
            return Err(format!(
                "{child} is drained, but is not there or leaves already"
            ));
        };
        known.state = State::Leaving(Patience::until(end));
        self.tally.drains += 1;
        Ok(())
    }

    fn may_kill(&mut self, now: Now, child: ChildId) -> Verdict {
        let at_once =
            matches!(self.era, Era::Stopping(stop) if stop.at_once.is_some() && self.closed);
        let Some(known) = self.known(child).filter(|known| known.pid.is_some()) else {
            return Err(format!("{child} is killed, but there is no such process"));
        };
        ensure(known.state != State::Killed, || {
            format!("{child} is killed twice")
        })?;
        let overdue = known
            .patience()
            .is_some_and(|patience| now >= patience.earliest);
        ensure(known.condemned || overdue || at_once, || {
            format!("{child} is killed for nothing")
        })?;
        known.state = State::Killed;
        self.tally.kills += 1;
        Ok(())
    }

    fn may_close(&mut self) -> Verdict {
        ensure(matches!(self.era, Era::Stopping(_)), || {
            "closed too early".to_owned()
        })?;
        ensure(!self.closed, || "closed twice".to_owned())?;
        self.closed = true;
        Ok(())
    }

    fn may_exit(&mut self, exit: Exit) -> Verdict {
        let Era::Stopping(stop) = self.era else {
            return Err("the master exits, but nobody wanted it to stop".to_owned());
        };
        if let Some(child) = self.children.values().next() {
            return Err(format!("the master exits, {} is still there", child.id));
        }
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
