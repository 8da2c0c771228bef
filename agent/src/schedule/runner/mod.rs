//! Performs what the book decides.
//!
//! One task holds the book; each run is a task of its own. A run in the agent is dropped when its time is over or the
//! agent may no longer run it; a run on workers is theirs, and only its end is awaited here.

mod run;
mod turns;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::child::job::Order;
use hatchery_protocol::id::Slot;
use hatchery_protocol::schedule::{Outcome, ScheduleStatus};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::book::{Action, Begin, Book, Claim, Claimed, Event};
use super::plan::Plan;
use super::spec::{Scope, Site};
use super::tick::Moment;
use run::{gather, log, run_here, run_on_one};
use turns::Keepers;
pub(super) use turns::Turn;

/// No sleep is longer: a timer that far away is none.
const FAR: Duration = Duration::from_secs(3600);
/// How long the fleet's word on a time is still waited for when the agent is about to leave.
const LAST_CLAIM: Duration = Duration::from_millis(200);

/// What comes later.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What surrounds the runner: clocks, the master and the workers. Cheap to clone.
pub(crate) trait World: Clone + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Moment;
    /// Waits until somebody sets the clock, or the machine wakes up.
    fn clock_set(&self) -> Later<()>;
    /// Tells the master how things are with a schedule.
    fn report(&self, status: ScheduleStatus);
    /// Tells an operator how it went.
    fn answer(&self, order: u64, result: Result<(), String>);
    /// Runs a job on one worker, whichever is ready. `None`: no worker is, and nothing has happened.
    fn on_one(&self, order: Order) -> Later<Option<Outcome>>;
    /// Runs a job on all workers that are ready.
    fn on_all(&self, order: Order) -> Later<Vec<(Slot, Outcome)>>;
    /// Waits for the end of a run that an agent before has begun: of each worker that knows it, or is gone and may have
    /// known it. Nothing: nobody knows.
    fn follow(&self, run: Followed) -> Later<Vec<(Slot, Outcome)>>;
    /// Whether there are other hosts that could run what is to be run once per fleet.
    fn in_fleet(&self) -> bool {
        false
    }
    /// Waits until some worker is ready, or until none is.
    fn workers(&self, ready: bool) -> Later<()> {
        let _ = ready;
        Box::pin(std::future::pending())
    }
    /// Contends for the turn of a schedule, and waits until this host has it. Where there is no fleet nobody asks.
    fn turn(&self, plan: &Plan) -> Later<Arc<dyn Turn>> {
        let _ = plan;
        Box::pin(std::future::pending())
    }
}

/// A run that an agent before has begun.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) schedule: String,
    pub(crate) number: u64,
    /// Whether it is on all workers. Otherwise the first that knows it is the one.
    pub(crate) on_all: bool,
    /// How long it may take at most.
    pub(crate) timeout: Duration,
}

/// The schedules of an agent that is in office.
#[derive(Debug)]
pub(crate) struct Runner {
    events: mpsc::UnboundedSender<Event>,
    closing: Closing,
    ended: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// When runs in the agent have to be over, once that is known.
#[derive(Debug, Clone)]
struct Closing {
    token: CancellationToken,
    deadline: watch::Sender<Option<Instant>>,
}

impl Runner {
    /// Opens the book and begins.
    pub(crate) fn start<W: World>(
        world: W,
        mut plans: Vec<Plan>,
        previous: &[ScheduleStatus],
        seed: u64,
    ) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        let closing = Closing {
            token: CancellationToken::new(),
            deadline: watch::channel(None).0,
        };
        for plan in &mut plans {
            if plan.scope == Scope::Fleet && !world.in_fleet() {
                let name = &plan.name;
                tracing::info!(
                    "`{name}` is to run once per fleet; there is none, so it is run by this host"
                );
                plan.scope = Scope::Host;
            }
        }
        let mut actions = Vec::new();
        let book = Book::open(world.now(), plans, previous, seed, &mut actions);
        let desk = Desk {
            keepers: Keepers::new(&world, &book, &events),
            world,
            book,
            events: events.clone(),
            closing: closing.clone(),
            here: 0,
            claims: 0,
        };
        let task = tokio::spawn(desk.work(inbox, actions, end));
        Self {
            events,
            closing,
            ended,
            task,
        }
    }

    /// Where to tell what happens. Once everything has ended nobody listens.
    pub(crate) fn teller(&self) -> mpsc::UnboundedSender<Event> {
        self.events.clone()
    }

    /// Begins nothing any more, and waits for the end of what runs in the agent, at most for `grace`. Called again it
    /// can only shorten that.
    pub(crate) async fn close(&mut self, grace: Duration) {
        let end = Instant::now() + grace;
        self.closing
            .deadline
            .send_modify(|deadline| *deadline = Some(deadline.map_or(end, |d| d.min(end))));
        self.closing.token.cancel();
        // An error is the end of the task, which is the same.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk<W> {
    world: W,
    book: Book,
    events: mpsc::UnboundedSender<Event>,
    closing: Closing,
    /// Runs in this process.
    here: usize,
    /// For schedules of a whole fleet.
    keepers: Keepers,
    /// Times of which the fleet has not said whose they are.
    claims: usize,
}

impl<W: World> Desk<W> {
    async fn work(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Event>,
        mut actions: Vec<Action>,
        end: watch::Sender<bool>,
    ) {
        let mut closed = false;
        loop {
            for action in std::mem::take(&mut actions) {
                self.perform(action);
            }
            self.keepers.look(&self.book);
            if closed && self.here == 0 && self.claims == 0 {
                self.keepers.end().await;
                // Runs on workers go on, but what becomes of them is not this agent's to tell.
                end.send_replace(true);
                return;
            }
            let rest = self.book.rest(self.world.now()).unwrap_or(FAR).min(FAR);
            let event = tokio::select! {
                // Whoever closes must not see one more run begin.
                biased;
                () = self.closing.token.cancelled(), if !closed => {
                    closed = true;
                    Event::Close
                }
                Some(event) = inbox.recv() => event,
                () = self.world.clock_set() => Event::Time,
                // Timers have steps of a millisecond: not one too early.
                () = tokio::time::sleep(rest) => Event::Time,
            };
            if let Event::Ended { schedule, .. } = &event
                && self.is_here(*schedule)
            {
                self.here = self.here.saturating_sub(1);
            }
            if matches!(event, Event::Claimed { .. }) {
                self.claims = self.claims.saturating_sub(1);
            }
            self.book.handle(self.world.now(), event, &mut actions);
        }
    }

    fn is_here(&self, schedule: usize) -> bool {
        self.book
            .plan(schedule)
            .is_some_and(|plan| matches!(plan.site, Site::Agent(_)))
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Changed(schedule) => {
                if let Some(status) = self.book.status(schedule) {
                    self.world.report(status);
                }
            }
            Action::Answer { order, result } => self.world.answer(order, result),
            Action::Begin(begin) => self.begin(begin),
            Action::Claim(claim) => self.claim(claim),
            Action::Follow { schedule, number } => self.follow(schedule, number),
        }
    }

    /// When another host may begin the next run.
    fn end_of_turn(&self, begin: &Begin) -> Later<()> {
        let Some(token) = begin.token else {
            return Box::pin(std::future::pending());
        };
        match self.keepers.turn(begin.schedule, token) {
            Some(turn) => turn.lost(),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn claim(&mut self, claim: Claim) {
        self.claims += 1;
        let turn = self.keepers.turn(claim.schedule, claim.token);
        let (events, closing) = (self.events.clone(), self.closing.token.clone());
        tokio::spawn(async move {
            let late = async {
                closing.cancelled().await;
                tokio::time::sleep(LAST_CLAIM).await;
            };
            let claimed = match turn {
                None => Claimed::Others,
                Some(turn) => tokio::select! {
                    claimed = turn.claim(claim) => claimed,
                    () = late => Claimed::Unknown,
                },
            };
            if claimed == Claimed::Unknown {
                tracing::warn!(
                    "nobody knows whether the fleet took a time of a schedule for this host's: it is not run"
                );
            }
            let schedule = claim.schedule;
            let _ = events.send(Event::Claimed { schedule, claimed });
        });
    }

    fn follow(&self, schedule: usize, number: u64) {
        let Some(plan) = self.book.plan(schedule) else {
            return;
        };
        let (world, events) = (self.world.clone(), self.events.clone());
        tokio::spawn(async move {
            let on_all = matches!(plan.site, Site::AllWorkers);
            let run = Followed {
                schedule: plan.name.to_string(),
                number,
                on_all,
                timeout: plan.timeout,
            };
            let ends = world.follow(run).await;
            let outcome = match ends.first() {
                None => Outcome::Unobserved,
                Some(_) if on_all => gather(ends),
                Some((_, outcome)) => outcome.clone(),
            };
            log(&plan.name, number, &outcome);
            let name = plan.name.to_string();
            let _ = events.send(Event::Followed {
                name,
                number,
                outcome,
            });
        });
    }

    fn begin(&mut self, begin: Begin) {
        let Some(plan) = self.book.plan(begin.schedule) else {
            return;
        };
        if matches!(plan.site, Site::Agent(_)) {
            self.here += 1;
        }
        let (world, events) = (self.world.clone(), self.events.clone());
        let mut closing = self.closing.clone();
        let over = self.end_of_turn(&begin);
        if begin.attempt > 1 {
            let (name, number) = (&plan.name, begin.number);
            tracing::warn!("run {number} of `{name}` is tried again");
        }
        tokio::spawn(async move {
            let order = Order {
                schedule: plan.name.to_string(),
                job: plan.job.to_string(),
                number: begin.number,
                attempt: begin.attempt,
                cause: begin.cause,
                due_ms: begin.due_ms,
                timeout: plan.timeout,
                token: begin.token,
            };
            let outcome = match &plan.site {
                Site::Agent(handler) => {
                    closing.token = closing.token.child_token();
                    let told = closing.token.clone();
                    let tell = async {
                        over.await;
                        told.cancel();
                        std::future::pending::<Infallible>().await
                    };
                    tokio::select! {
                        outcome = run_here(handler, order, closing) => outcome,
                        never = tell => match never {},
                    }
                }
                Site::OneWorker => run_on_one(&world, order, closing.token).await,
                Site::AllWorkers => gather(world.on_all(order).await),
            };
            log(&plan.name, begin.number, &outcome);
            let (schedule, number) = (begin.schedule, begin.number);
            let _ = events.send(Event::Ended {
                schedule,
                number,
                outcome,
            });
        });
    }
}

#[cfg(test)]
mod hosts;
#[cfg(test)]
mod tests;
