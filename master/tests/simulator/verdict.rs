//! Was anything done that must not be? Each action is looked at when it is given.

use hatchery_master::supervisor::{Action, News, Note, Now, Supervisor};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use crate::judge::{Era, Judge};
use crate::known::{Known, Patience, State};
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

    fn may_spawn(&mut self, now: Now, child: ChildId, generation: Generation) -> Verdict {
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
        ensure(self.rollout.is_current(generation), || {
            format!("{child} is of generation {generation}")
        })?;
        ensure(seat == Seat::Agent || self.may_boot(), || {
            format!("{child} boots with {} others", self.booting())
        })?;
        match self.holders(seat).count() {
            0 => {}
            1 => self.may_succeed(child, generation)?,
            _ => return Err(format!("{child} is one too many")),
        }
        let renews = self.rollout.tried.is_some_and(|(_, failed)| !failed);
        let row = self.vacant.get(&seat).filter(|row| row.waits() && !renews);
        if let Some(row) = row {
            let backoff = &self.policy.backoff;
            let wait = backoff.first.as_secs_f64() * 1.5f64.powi(row.deaths - 2);
            let wait = wait.min(backoff.cap.as_secs_f64()) * 0.9;
            let waited = now.saturating_sub(row.since).as_secs_f64();
            ensure(waited >= wait - 1e-6, || {
                format!("{child} came after {waited} s of {wait} s")
            })?;
        }
        self.newest = child.incarnation;
        self.tally.spawns += 1;
        // Its boot message says who is ready.
        self.find_truth();
        let known = Known::asked_for(child, generation, self.truth.clone());
        self.children.insert(child, known);
        Ok(())
    }

    /// A second process for a seat needs a reason.
    fn may_succeed(&mut self, child: ChildId, generation: Generation) -> Verdict {
        let Some(holder) = self.holders(child.seat).next() else {
            return Ok(());
        };
        if child.seat == Seat::Agent {
            let for_nothing = holder.stands_down.is_some();
            return ensure(for_nothing || generation != holder.generation, || {
                format!("{child} is a second agent for nothing")
            });
        }
        let pairs = self
            .seats()
            .skip(1)
            .filter(|seat| self.holders(*seat).count() > 1);
        let pairs = pairs.count();
        if generation != holder.generation {
            let surge = usize::try_from(self.policy.surge.max(1)).unwrap_or(1);
            return ensure(pairs < surge, || format!("{child} is more than the surge"));
        }
        let lifetime = self.policy.recycle.max_lifetime;
        let worn = holder.worn || !lifetime.is_zero();
        ensure(worn && holder.is_ready(), || {
            format!("{child} succeeds one that is not worn")
        })?;
        let leaving = self.children.values().any(|known| known.recycled);
        self.tally.recycled += 1;
        ensure(pairs == 0 && !leaving, || {
            format!("{child} is recycled together with another one")
        })
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
        let Some(known) = self.children.get(&child).filter(|k| k.is_member()) else {
            return Err(format!("egg-ready to {child}, which is not ready"));
        };
        ensure(!known.hatched, || format!("egg-ready to {child} twice"))?;
        if child.seat == Seat::Agent {
            let other = self.children.values().find(|known| known.is_on_duty());
            ensure(other.is_none(), || {
                format!("{child} is a second one on duty")
            })?;
            ensure(!self.rollout.successor_is_on_duty(), || {
                format!("{child} is on duty beside the new master's agent")
            })?;
        }
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
        let Some(known) = self.known(child).filter(|k| k.stays() && !k.dismissed) else {
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

    fn may_tell(&mut self, to: impl Iterator<Item = ChildId>, news: &News) -> Verdict {
        let time = matches!(self.era, Era::Starting | Era::Serving);
        ensure(time, || format!("idle talk: {news:?}"))?;
        self.find_truth();
        let true_news = match news {
            News::Agent(pid) => *pid == self.truth.agent,
            News::Workers { up, down } => {
                let idle = up.is_empty() && down.is_empty();
                let mut up = up.iter();
                let mut down = down.iter();
                let workers = &self.truth.workers;
                !idle
                    && up.all(|member| workers.contains(member))
                    && down.all(|slot| workers.iter().all(|member| member.slot != *slot))
            }
        };
        ensure(true_news, || {
            format!("{news:?}, but it is {:?}", self.truth)
        })?;
        let serving = self.serves();
        for child in to {
            // One that is asked for later in the same turn learns it from its boot message.
            let Some(known) = self.known(child) else {
                continue;
            };
            ensure(known.listens(), || {
                format!("{child} is told something, but does not listen")
            })?;
            let early = matches!(news, News::Workers { .. }) && known.is_worker() && !serving;
            ensure(!early, || format!("{child} hears too early"))?;
            known.belief.hears(news);
        }
        Ok(())
    }

    fn may_drain(&mut self, now: Now, child: ChildId, budget: Now) -> Verdict {
        let expected = match self.era {
            Era::Stopping(stop) => {
                ensure(self.closed, || {
                    format!("{child} is drained before the addresses are closed")
                })?;
                ensure(stop.at_once.is_none(), || {
                    format!("{child} is drained instead of killed")
                })?;
                let worker_left = self.children.values().any(Known::is_worker);
                let rest = (stop.since + self.policy.drain_timeout).saturating_sub(now);
                if child.seat == Seat::Agent {
                    ensure(!worker_left, || {
                        format!("{child} is drained before the workers are gone")
                    })?;
                    rest.max(self.policy.kill_after)
                } else {
                    rest
                }
            }
            Era::Serving => {
                self.may_dismiss(child)?;
                self.policy.drain_timeout
            }
            Era::Idle | Era::Starting | Era::Over => {
                return Err(format!("{child} is drained, but nobody wants to stop"));
            }
        };
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

    /// Somebody is sent away while the cluster serves: there is somebody else, or no seat any more.
    fn may_dismiss(&mut self, child: ChildId) -> Verdict {
        let Some(known) = self.children.get(&child) else {
            return Err(format!("{child} is drained, but is not there"));
        };
        if child.seat == Seat::Agent {
            ensure(!known.is_on_duty(), || {
                format!("{child} is drained on duty")
            })?;
            if let Some(known) = self.known(child) {
                known.dismissed = true;
            }
            return Ok(());
        }
        ensure(known.dismissed, || {
            format!("{child} is drained for nothing")
        })?;
        let retired = child.seat.slot().is_none_or(|slot| slot >= self.workers);
        let work = self.at_work(child.seat).is_some_and(|other| other.hatched);
        let refilled = self.tally.scaled > 0;
        ensure(!known.is_ready() || retired || work || refilled, || {
            format!("{child} is drained, but nobody else is at work")
        })
    }

    fn may_diagnose(&mut self, now: Now, child: ChildId) -> Verdict {
        let timeout = self.policy.worker_timeout;
        let Some(known) = self.known(child).filter(|known| known.is_member()) else {
            return Err(format!("{child} is diagnosed, but not at work"));
        };
        let silent = !timeout.is_zero() && known.alive + timeout <= now;
        ensure(silent && known.diagnosed.is_none(), || {
            format!("{child} is diagnosed for nothing")
        })?;
        known.diagnosed = Some(now);
        Ok(())
    }

    fn may_ask_to_stand_down(&mut self, now: Now, child: ChildId) -> Verdict {
        let heir = |k: &Known| k.is_member() && !k.hatched && k.generation == self.rollout.adopted;
        let wanted =
            self.rollout.successor == Successor::Ready || self.holders(Seat::Agent).any(heir);
        ensure(wanted, || format!("{child} stands down for nobody"))?;
        let Some(known) = self.known(child).filter(|known| known.is_on_duty()) else {
            return Err(format!("{child} stands down, but is not on duty"));
        };
        ensure(known.is_ready() && known.stands_down.is_none(), || {
            format!("{child} cannot stand down")
        })?;
        known.stands_down = Some(now);
        self.tally.stood_down += 1;
        Ok(())
    }

    fn may_kill(&mut self, now: Now, child: ChildId) -> Verdict {
        let at_once =
            matches!(self.era, Era::Stopping(stop) if stop.at_once.is_some() && self.closed);
        let policy = self.policy.clone();
        let Some(known) = self.known(child).filter(|known| known.pid.is_some()) else {
            return Err(format!("{child} is killed, but there is no such process"));
        };
        ensure(known.state != State::Killed, || {
            format!("{child} is killed twice")
        })?;
        let overdue = known
            .patience()
            .is_some_and(|patience| now >= patience.earliest);
        let hung = known.is_hung(now, &policy);
        let lingers = known.lingers(now, &policy);
        ensure(
            known.condemned || overdue || at_once || hung || lingers,
            || format!("{child} is killed for nothing"),
        )?;
        known.state = State::Killed;
        known.in_the_way = lingers && !hung && !known.condemned;
        let disturbs = known.is_worker() && !known.dismissed;
        self.undisturbed &= !disturbs;
        self.tally.kills += 1;
        self.tally.hung += u64::from(hung);
        Ok(())
    }

    fn may_close(&mut self, successor: Successor) -> Verdict {
        ensure(matches!(self.era, Era::Stopping(_)), || {
            "closed too early".to_owned()
        })?;
        ensure(!self.closed, || "closed twice".to_owned())?;
        let handed_over = self.handed_over();
        ensure(handed_over == (successor == Successor::Serves), || {
            "whose are the addresses?".to_owned()
        })?;
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
