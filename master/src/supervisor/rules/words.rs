//! Actions in words, for the right-hand side of a story.

use hatchery_protocol::id::{ChildId, Seat};

use super::bench::{Bench, pid};
use crate::supervisor::{Action, News, Note};

impl Bench {
    pub(super) fn describe(&mut self, action: &Action) -> Option<String> {
        Some(match action {
            Action::Spawn { child, .. } => format!("spawn {}", self.christen(*child)),
            Action::Listen => "listen".to_owned(),
            Action::EggReady { child } => format!("egg-ready {}", self.name(*child)),
            Action::Tell { to, news } => {
                let to = self.supervisor.audience(*to);
                let to: Vec<_> = to.map(|child| self.name(child)).collect();
                // What nobody hears is not done.
                if to.is_empty() {
                    return None;
                }
                format!("tell {}: {}", to.join(" "), self.headline(news))
            }
            Action::Announce { child } => format!("announce {}", self.name(*child)),
            Action::Drain { child, budget } => format!("drain {} {budget:?}", self.name(*child)),
            Action::Kill { child } => format!("kill {}", self.name(*child)),
            Action::CloseListeners => "close listeners".to_owned(),
            Action::HandOverListeners => "hand over listeners".to_owned(),
            Action::Stage { order } => format!("stage {order}"),
            Action::Adopt => "adopt".to_owned(),
            Action::Unstage => "unstage".to_owned(),
            Action::Slots { slots } => format!("slots {slots}"),
            Action::Diagnose { child } => format!("diagnose {}", self.name(*child)),
            Action::StandDown { child } => format!("stand down {}", self.name(*child)),
            Action::LaunchSuccessor { order } => format!("launch successor {order}"),
            Action::Commit => "commit".to_owned(),
            Action::EndSuccessor { at_once: false } => "end successor".to_owned(),
            Action::EndSuccessor { at_once: true } => "kill successor".to_owned(),
            Action::Finished { order, outcome } => match outcome {
                Ok(()) => format!("order {order}: done"),
                Err(why) => format!("order {order}: {why}"),
            },
            Action::Exit { exit } => format!("exit {}", exit.code()),
            Action::Record(note) => {
                self.notes.push(written(note));
                self.exits.extend(note.exit);
                return None;
            }
        })
    }

    fn headline(&self, news: &News) -> String {
        match news {
            News::Agent(None) => "no agent".to_owned(),
            News::Agent(Some(pid)) => self.name_of_pid(*pid),
            News::Workers { up, down } => {
                let up = up.iter().map(|m| format!("{} up", self.name_of_pid(m.pid)));
                let down = down.iter().map(|slot| format!("slot {slot} down"));
                up.chain(down).collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn christen(&mut self, child: ChildId) -> String {
        let nth = self.seats.entry(child.seat).or_default();
        *nth += 1;
        let seat = match child.seat {
            Seat::Agent => "agent".to_owned(),
            Seat::Worker(slot) => format!("w{slot}"),
        };
        let name = match *nth {
            1 => seat,
            nth => format!("{seat}.{nth}"),
        };
        self.names.insert(name.clone(), child);
        name
    }

    fn name(&self, child: ChildId) -> String {
        let mut names = self.names.iter();
        let found = names.find(|(_, id)| **id == child);
        found.map_or_else(|| format!("unborn {child}"), |(name, _)| name.clone())
    }

    fn name_of_pid(&self, wanted: u32) -> String {
        let mut names = self.names.iter();
        let found = names.find(|(_, id)| pid(**id) == wanted);
        found.map_or_else(|| format!("pid {wanted}"), |(name, _)| name.clone())
    }
}

fn written(note: &Note) -> String {
    let mut line = note.event.to_string();
    if let Some(seat) = note.seat {
        line = format!("{line} {seat}");
    }
    if let Some(reason) = &note.reason {
        line = format!("{line}: {reason}");
    }
    line
}
