//! On which host of a fleet a schedule runs.
//!
//! One keeper for each schedule that the fleet shares: it contends for the turn while the book wants it, tells the book
//! when it has come and when it is over, and gives it back when it is wanted no more and nothing that was begun goes on.
//! A host without a ready worker leaves jobs for workers to others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Later, World};
use crate::schedule::book::{Book, Claim, Claimed, Event, Held, LastTime, Wanted};
use crate::schedule::plan::Plan;
use crate::schedule::spec::Site;

/// How long giving the turns back may take when the agent stands down: the next one is waiting.
const GIVING_BACK: Duration = Duration::from_millis(200);

/// A turn that this host has: the schedule is run here and nowhere else.
pub(crate) trait Turn: Send + Sync {
    /// Larger than that of every turn before, on whichever host.
    fn token(&self) -> u64;
    /// The last time that any host has claimed, as of when the turn began.
    fn last(&self) -> Option<LastTime>;
    /// Waits until it is over.
    fn lost(&self) -> Later<()>;
    /// Claims a time, however long the fleet takes to answer; until the turn is over at the most.
    fn claim(&self, claim: Claim) -> Later<Claimed>;
    /// Leaves it to another host, at once.
    fn give_back(&self) -> Later<()>;
}

/// All keepers of an agent.
#[derive(Default)]
pub(super) struct Keepers(Vec<Keeper>);

struct Keeper {
    schedule: usize,
    wanted: watch::Sender<Wanted>,
    turn: watch::Receiver<Option<Arc<dyn Turn>>>,
    task: JoinHandle<()>,
}

impl Keepers {
    /// For every schedule of the book that is the fleet's.
    pub(super) fn new<W: World>(
        world: &W,
        book: &Book,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Self {
        let plans = (0..).map_while(|schedule| Some((schedule, book.plan(schedule)?)));
        let shared = plans.filter_map(|(schedule, plan)| {
            let (wanted, wants) = watch::channel(book.wanted(schedule)?);
            let (shown, turn) = watch::channel(None);
            let task = Task {
                world: world.clone(),
                schedule,
                plan,
                wants,
                shown,
                events: events.clone(),
            };
            Some(Keeper {
                schedule,
                wanted,
                turn,
                task: tokio::spawn(task.keep()),
            })
        });
        Self(shared.collect())
    }

    /// Tells each what the book wants.
    pub(super) fn look(&self, book: &Book) {
        for keeper in &self.0 {
            let Some(now) = book.wanted(keeper.schedule) else {
                continue;
            };
            keeper.wanted.send_if_modified(|wanted| {
                let changed = *wanted != now;
                *wanted = now;
                changed
            });
        }
    }

    /// The turn of this token, if it is not over.
    pub(super) fn turn(&self, schedule: usize, token: u64) -> Option<Arc<dyn Turn>> {
        let keeper = self.0.iter().find(|keeper| keeper.schedule == schedule)?;
        let turn = keeper.turn.borrow().clone();
        turn.filter(|turn| turn.token() == token)
    }

    /// Gives everything back.
    pub(super) async fn end(&mut self) {
        // A keeper ends when nobody can want anything any more.
        let tasks: Vec<_> = self.0.drain(..).map(|keeper| keeper.task).collect();
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = timeout(GIVING_BACK, all).await;
    }
}

struct Task<W> {
    world: W,
    schedule: usize,
    plan: Arc<Plan>,
    wants: watch::Receiver<Wanted>,
    shown: watch::Sender<Option<Arc<dyn Turn>>>,
    events: mpsc::UnboundedSender<Event>,
}

impl<W: World> Task<W> {
    /// Until the book is closed.
    async fn keep(mut self) {
        while self.wants.wait_for(|wanted| wanted.contend).await.is_ok() {
            let turn = tokio::select! {
                turn = self.contend() => turn,
                // Dropping the other one stops to contend.
                _ = self.unwanted() => continue,
            };
            self.shown.send_replace(Some(Arc::clone(&turn)));
            let (token, last) = (turn.token(), turn.last());
            tracing::info!(token, "`{}` is run by this host", self.plan.name);
            self.tell(Some(Held { token, last }));
            let gone = tokio::select! {
                () = turn.lost() => true,
                () = self.done() => false,
            };
            tracing::info!(
                token,
                "`{}` is not run by this host any more",
                self.plan.name
            );
            self.shown.send_replace(None);
            self.tell(None);
            if !gone {
                turn.give_back().await;
            }
        }
    }

    fn tell(&self, held: Option<Held>) {
        let schedule = self.schedule;
        // Nobody listens any more: the agent is about to leave.
        let _ = self.events.send(Event::Turn { schedule, held });
    }

    async fn contend(&self) -> Arc<dyn Turn> {
        if self.on_workers() {
            self.world.workers(true).await;
        }
        self.world.turn(&self.plan).await
    }

    async fn unwanted(&self) -> bool {
        let mut wants = self.wants.clone();
        wants.wait_for(|wanted| !wanted.contend).await.is_ok()
    }

    /// Until there is no reason to have the turn any longer.
    async fn done(&self) {
        let mut wants = self.wants.clone();
        loop {
            let wanted = *wants.borrow_and_update();
            if !wanted.contend && !wanted.busy {
                return;
            }
            tokio::select! {
                changed = wants.changed() => if changed.is_err() {
                    return;
                },
                () = self.world.workers(false), if self.on_workers() && !wanted.busy => return,
            }
        }
    }

    fn on_workers(&self) -> bool {
        !matches!(self.plan.site, Site::Agent(_))
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        for keeper in &self.0 {
            keeper.task.abort();
        }
    }
}
