//! The page of a schedule that one host of a fleet runs for all: it begins runs while it is this host's turn.
//!
//! A time that has come is *claimed* first. What is claimed is this host's for good, whether its turn lasts or not; what
//! is not claimed is left to whoever has the turn next, to whom it is a missed time. So no time is run by two hosts, and
//! who waits for the fleet's word lets further times pass meanwhile.

use hatchery_protocol::schedule::Turn;
use jiff::Timestamp;

use super::{Entry, Wish};
use crate::schedule::book::{Action, Claim, Claimed, Held, LastTime, Wanted};
use crate::schedule::tick::{Due, Moment, Pulse, wall_ms};

/// What a page keeps beside, if the schedule is the whole fleet's.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// While it is this host's turn.
    token: Option<u64>,
    /// What waits for the fleet's word.
    claiming: Option<Wish>,
}

impl Entry {
    pub(super) fn is_elsewhere(&self) -> bool {
        self.side.as_ref().is_some_and(|side| side.token.is_none())
    }

    /// Whether a time that comes can begin something.
    pub(super) fn is_free(&self) -> bool {
        let waits = |side: &Side| side.token.is_none() || side.claiming.is_some();
        !self.side.as_ref().is_some_and(waits)
    }

    pub(super) fn token(&self) -> Option<u64> {
        self.side.as_ref()?.token
    }

    pub(super) fn turn(&self) -> Option<Turn> {
        let here = |side: &Side| match side.token {
            Some(_) => Turn::Here,
            None => Turn::Elsewhere,
        };
        self.side.as_ref().map(here)
    }

    /// Whether this host should have the turn. `None`: it always has.
    pub(in crate::schedule::book) fn wanted(&self) -> Option<Wanted> {
        let side = self.side.as_ref()?;
        Some(Wanted {
            contend: self.enabled,
            busy: !self.running.is_empty() || self.queued.is_some() || side.claiming.is_some(),
        })
    }

    /// A time has come.
    pub(super) fn come(&mut self, now: Moment, late: Due, wish: Wish, out: &mut Vec<Action>) {
        let Some(side) = &mut self.side else {
            self.wish(now, wish, out);
            return;
        };
        let Some(token) = side.token else {
            return;
        };
        side.claiming = Some(Wish {
            token: Some(token),
            ..wish
        });
        out.push(Action::Claim(Claim {
            schedule: self.index,
            token,
            // The times of an interval have no names that all hosts know.
            due_ms: matches!(self.plan.pulse, Pulse::Cron { .. }).then_some(wish.due_ms),
            late: late.late(now),
        }));
    }

    /// The fleet's word on what was claimed.
    pub(in crate::schedule::book) fn claimed(
        &mut self,
        now: Moment,
        claimed: Claimed,
        closed: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(wish) = self.side.as_mut().and_then(|side| side.claiming.take()) else {
            return;
        };
        match claimed {
            // Nobody else will run it, so the next agent here has to.
            Claimed::Ours if closed => {
                if self.queued.is_none() {
                    self.queued = Some(wish);
                } else {
                    self.skipped += 1;
                }
                out.push(Action::Changed(self.index));
            }
            Claimed::Ours => self.wish(now, wish, out),
            // It has been run, or will be, by whoever has the turn.
            Claimed::Others => {}
            Claimed::Unknown => {
                self.missed += 1;
                out.push(Action::Changed(self.index));
            }
        }
    }

    /// The turn has come to this host, or it is over.
    pub(in crate::schedule::book) fn take_turn(
        &mut self,
        now: Moment,
        held: Option<Held>,
        out: &mut Vec<Action>,
    ) {
        let Some(side) = &mut self.side else {
            return;
        };
        side.token = held.map(|held| held.token);
        self.next = held.and_then(|held| self.go_on_after(now, held.last));
        if let Some(held) = held
            && self.running.is_empty()
            && let Some(mut wish) = self.queued.take()
        {
            wish.token = Some(held.token);
            self.begin(now, wish, out);
        } else {
            out.push(Action::Changed(self.index));
        }
    }

    /// The time after the last one that any host has claimed. It may have passed.
    fn go_on_after(&self, now: Moment, last: Option<LastTime>) -> Option<Due> {
        let pulse = &self.plan.pulse;
        match (pulse, last) {
            (
                Pulse::Cron { .. },
                Some(LastTime {
                    due_ms: Some(ms), ..
                }),
            ) => {
                let last = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
                pulse.after_wall(last).map(Due::Wall)
            }
            (Pulse::Every(period), Some(LastTime { ago, .. })) => {
                Some(Due::Boot((now.boot + *period).saturating_sub(ago)))
            }
            (Pulse::Cron { .. } | Pulse::Every(_) | Pulse::Once, _) => pulse.first(now),
        }
    }

    /// Goes on where another agent of this host ended; what it has claimed waits for this host's turn.
    pub(super) fn take_over_claimed(&mut self, now: Moment, queued: bool) {
        use hatchery_protocol::schedule::Cause;
        if queued && self.enabled {
            self.queued = Some(Wish {
                cause: Cause::Missed,
                due_ms: wall_ms(now.wall),
                order: None,
                token: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schedule::Schedule;
    use crate::schedule::book::{Book, Event};
    use crate::schedule::plan::check;

    const S: Duration = Duration::from_secs(1);

    struct Desk {
        book: Book,
        now: Moment,
    }

    impl Desk {
        fn open(schedule: Schedule) -> Self {
            let now = Moment {
                wall: "2026-11-21T12:00:00Z".parse().unwrap(),
                boot: 1000 * S,
            };
            let plans = check(vec![schedule.once_per_fleet()], now.wall).unwrap();
            let book = Book::open(now, plans, &[], 1, &mut Vec::new());
            Self { book, now }
        }

        /// Time passes, then something happens; what is claimed and what begins because of it.
        fn after(&mut self, time: Duration, event: Event) -> (Vec<Claim>, usize) {
            self.now.wall += time;
            self.now.boot += time;
            let mut out = Vec::new();
            self.book.handle(self.now, event, &mut out);
            let claims = out.iter().filter_map(|action| match action {
                Action::Claim(claim) => Some(*claim),
                Action::Changed(_)
                | Action::Begin(_)
                | Action::Follow { .. }
                | Action::Answer { .. } => None,
            });
            let begun = out.iter().filter(|a| matches!(a, Action::Begin(_))).count();
            (claims.collect(), begun)
        }
    }

    fn held(token: u64, last: Option<LastTime>) -> Event {
        let held = Some(Held { token, last });
        Event::Turn { schedule: 0, held }
    }

    fn claimed(claimed: Claimed) -> Event {
        Event::Claimed {
            schedule: 0,
            claimed,
        }
    }

    #[test]
    fn a_time_is_claimed_before_it_is_run_and_one_at_a_time() {
        let mut desk = Desk::open(Schedule::cron("a", "*/10 * * * * *"));
        assert_eq!(desk.book.rest(desk.now), None);
        assert_eq!(desk.after(25 * S, Event::Time), (vec![], 0));
        assert_eq!(desk.after(S, held(7, None)), (vec![], 0));
        assert_eq!(desk.book.rest(desk.now), Some(4 * S));
        let (claims, begun) = desk.after(4 * S, Event::Time);
        let noon = 1_795_262_400_000;
        let claim = Claim {
            schedule: 0,
            token: 7,
            due_ms: Some(noon + 30_000),
            late: Duration::ZERO,
        };
        assert_eq!((claims, begun), (vec![claim], 0));
        // The fleet takes its time.
        assert_eq!(desk.book.rest(desk.now), None);
        assert_eq!(desk.after(25 * S, Event::Time), (vec![], 0));
        let (claims, begun) = desk.after(S, claimed(Claimed::Ours));
        assert_eq!((claims.len(), begun), (1, 1));
        assert_eq!(claims[0].due_ms, Some(noon + 50_000));
        assert_eq!(claims[0].late, 6 * S);
        let status = desk.book.status(0).unwrap();
        assert_eq!((status.missed, status.turn), (1, Some(Turn::Here)));
    }

    #[test]
    fn what_is_not_ours_is_not_run_and_what_nobody_knows_is_counted() {
        for (word, missed) in [(Claimed::Others, 0), (Claimed::Unknown, 1)] {
            let mut desk = Desk::open(Schedule::cron("a", "*/10 * * * * *"));
            desk.after(S, held(7, None));
            assert_eq!(desk.after(9 * S, Event::Time).0.len(), 1);
            let over = Event::Turn {
                schedule: 0,
                held: None,
            };
            assert_eq!(desk.after(S, over), (vec![], 0));
            assert_eq!(desk.after(S, claimed(word)), (vec![], 0));
            let status = desk.book.status(0).unwrap();
            assert_eq!((status.runs, status.missed), (0, missed));
            assert_eq!((status.turn, status.next_ms), (Some(Turn::Elsewhere), None));
        }
    }

    #[test]
    fn a_turn_goes_on_after_the_last_time_of_any_host() {
        let last = |due_ms, ago| Some(LastTime { due_ms, ago });
        let noon = 1_795_262_400_000;
        // (schedule, the last time, how long it is until the next one)
        for (schedule, last, rest) in [
            (Schedule::cron("a", "*/10 * * * * *"), None, 9 * S),
            (
                Schedule::cron("a", "*/10 * * * * *"),
                last(Some(noon), S),
                9 * S,
            ),
            // Another host's clock is ahead of this one's.
            (
                Schedule::cron("a", "*/10 * * * * *"),
                last(Some(noon + 10_000), Duration::ZERO),
                19 * S,
            ),
            (Schedule::every("a", 10 * S), None, 10 * S),
            (Schedule::every("a", 10 * S), last(None, 4 * S), 6 * S),
        ] {
            let mut desk = Desk::open(schedule);
            assert_eq!(desk.after(S, held(7, last)), (vec![], 0));
            assert_eq!(desk.book.rest(desk.now), Some(rest));
        }
        let mut desk = Desk::open(Schedule::every("a", 10 * S));
        let (claims, _) = desk.after(S, held(7, last(None, 34 * S)));
        assert_eq!(claims[0].late, 4 * S);
        assert_eq!(desk.book.status(0).unwrap().missed, 2);
    }
}
