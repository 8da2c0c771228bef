//! Who may be told what: the truth, in time, and what happens once in a life not twice.

use hatchery_master::supervisor::News;
use hatchery_protocol::id::{ChildId, Seat};

use crate::judge::{Era, Judge};
use crate::known::Known;
use crate::verdict::{Verdict, ensure};

impl Judge {
    pub(super) fn may_hatch(&mut self, child: ChildId) -> Verdict {
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
            ensure(!self.withholds_agent(), || {
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

    pub(super) fn may_announce(&mut self, child: ChildId) -> Verdict {
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

    pub(super) fn may_tell(&mut self, to: impl Iterator<Item = ChildId>, news: &News) -> Verdict {
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

    pub(super) fn is_informed(&self, known: &Known) -> bool {
        // The agent is not told about itself.
        let agent = !known.is_worker() || known.belief.agent == self.truth.agent;
        agent && known.belief.workers == self.truth.workers
    }

    pub(super) fn misinformed(&self, known: &Known) -> String {
        format!(
            "{} believes {:?}, but it is {:?}",
            known.id, known.belief, self.truth
        )
    }
}
