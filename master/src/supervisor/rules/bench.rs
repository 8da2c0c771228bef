//! The stage for the stories: a supervisor, a clock, and names for everybody.

use std::collections::BTreeMap;
use std::time::Duration;

use hatchery_protocol::control::{ChildState, ClusterState};
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Seat};

use crate::supervisor::{
    Action, Backoff, Death, Event, Now, Policy, SeatReport, Status, Supervisor,
};

pub(super) const AGENT_START: Duration = Duration::from_secs(10);
pub(super) const WORKER_START: Duration = Duration::from_secs(20);
pub(super) const DRAIN: Duration = Duration::from_secs(30);
pub(super) const KILL_AFTER: Duration = Duration::from_secs(2);
pub(super) const STABLE: Duration = Duration::from_secs(60);
/// What the master adds to a start timeout, for the child to notice first.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

pub(super) struct Bench {
    pub(super) supervisor: Supervisor,
    now: Now,
    pub(super) names: BTreeMap<String, ChildId>,
    /// How many processes each seat has seen.
    pub(super) seats: BTreeMap<Seat, u32>,
    pub(super) notes: Vec<String>,
    /// How processes ended since that was asked.
    pub(super) exits: Vec<ExitKind>,
    /// Whether those who have connected are passed on in no time, as they are nearly always.
    pub(super) passes_on: bool,
}

/// What the supervisor did about the last step; notes are kept apart, see [`Bench::notes`].
#[must_use]
pub(super) struct Done(pub(super) Vec<String>);

impl Done {
    #[track_caller]
    pub(super) fn does(self, expected: &[&str]) {
        assert_eq!(self.0, expected);
    }

    #[track_caller]
    pub(super) fn does_nothing(self) {
        self.does(&[]);
    }

    /// For steps that only set the scene.
    pub(super) fn whatever(self) {
        drop(self);
    }
}

impl Bench {
    /// Nothing has happened yet.
    pub(super) fn new(workers: u32) -> Self {
        Self::new_with_delay(workers, Duration::ZERO)
    }

    /// The same, with some time between a wish to stop and the stop.
    pub(super) fn new_with_delay(workers: u32, pre_stop_delay: Duration) -> Self {
        Self::with(Policy {
            pre_stop_delay,
            ..Self::policy(workers)
        })
    }

    /// What the stories are told by, where they do not say otherwise.
    pub(super) fn policy(workers: u32) -> Policy {
        Policy {
            workers,
            agent_start_timeout: AGENT_START,
            worker_start_timeout: WORKER_START,
            pre_stop_delay: Duration::ZERO,
            drain_timeout: DRAIN,
            kill_after: KILL_AFTER,
            backoff: Backoff {
                stable: STABLE,
                ..Backoff::default()
            },
            booting: 64,
            worker_timeout: Duration::ZERO,
            ..Policy::default()
        }
    }

    /// Nothing has happened yet, under this policy.
    pub(super) fn with(policy: Policy) -> Self {
        Self {
            supervisor: Supervisor::new(policy),
            now: Now::from_secs(1000),
            names: BTreeMap::new(),
            seats: BTreeMap::new(),
            notes: Vec::new(),
            exits: Vec::new(),
            passes_on: true,
        }
    }

    /// The agent is ready, every worker is in its `start`.
    pub(super) fn booting(workers: u32) -> Self {
        Self::new(workers).then_booting(workers)
    }

    fn then_booting(self, workers: u32) -> Self {
        let mut bench = self;
        bench.started().whatever();
        bench.becomes_ready("agent").whatever();
        for slot in 0..workers {
            bench.spawned(&format!("w{slot}")).whatever();
        }
        bench
    }

    /// Everybody is ready, nobody listens yet.
    pub(super) fn ready_to_listen(workers: u32) -> Self {
        Self::booting(workers).then_ready(workers)
    }

    fn then_ready(self, workers: u32) -> Self {
        let mut bench = self;
        for slot in 0..workers {
            bench.ready(&format!("w{slot}")).whatever();
        }
        bench
    }

    /// After egg-ready, with some time between a wish to stop and the stop.
    pub(super) fn serving_with_delay(workers: u32, delay: Duration) -> Self {
        let bench = Self::new_with_delay(workers, delay);
        let mut bench = bench.then_booting(workers).then_ready(workers);
        bench.listening().whatever();
        bench
    }

    /// After egg-ready.
    pub(super) fn serving(workers: u32) -> Self {
        let mut bench = Self::ready_to_listen(workers);
        bench.listening().whatever();
        bench
    }

    /// After egg-ready, under this policy.
    pub(super) fn serving_with(policy: Policy) -> Self {
        let workers = policy.workers;
        let mut bench = Self::with(policy).then_booting(workers).then_ready(workers);
        bench.listening().whatever();
        bench.notes();
        bench
    }

    pub(super) fn started(&mut self) -> Done {
        self.feed(Event::Started)
    }

    pub(super) fn spawned(&mut self, name: &str) -> Done {
        let child = self.id(name);
        self.feed(Event::Spawned {
            child,
            pid: pid(child),
        })
    }

    pub(super) fn spawn_fails(&mut self, name: &str) -> Done {
        let child = self.id(name);
        let error = "out of memory".to_owned();
        self.feed(Event::SpawnFailed { child, error })
    }

    pub(super) fn says_hello(&mut self, name: &str) -> Done {
        let child = self.id(name);
        self.feed(Event::Hello { child })
    }

    pub(super) fn ready(&mut self, name: &str) -> Done {
        let child = self.id(name);
        self.feed(Event::Ready { child })
    }

    /// Spawned and ready.
    pub(super) fn becomes_ready(&mut self, name: &str) -> Done {
        let Done(mut all) = self.spawned(name);
        all.extend(self.ready(name).0);
        Done(all)
    }

    pub(super) fn hook_fails(&mut self, name: &str) -> Done {
        self.hook_ends(name, "a hook failed: no database", false)
    }

    pub(super) fn hook_times_out(&mut self, name: &str) -> Done {
        self.hook_ends(name, "a hook did not finish within 5s", true)
    }

    fn hook_ends(&mut self, name: &str, message: &str, timed_out: bool) -> Done {
        let child = self.id(name);
        self.feed(Event::HookFailed {
            child,
            message: message.to_owned(),
            timed_out,
        })
    }

    pub(super) fn link_breaks(&mut self, name: &str) -> Done {
        let child = self.id(name);
        let reason = "it wrote nonsense".to_owned();
        self.feed(Event::LinkBroken { child, reason })
    }

    pub(super) fn exits(&mut self, name: &str, code: i32) -> Done {
        self.dies(name, Status::Code(code), &[])
    }

    /// As after a `kill` of the master's.
    pub(super) fn is_killed(&mut self, name: &str) -> Done {
        self.dies(name, Status::Signal(9), &[])
    }

    pub(super) fn dies(&mut self, name: &str, status: Status, last_words: &[&str]) -> Done {
        let child = self.id(name);
        let last_words = last_words.iter().map(|&line| line.to_owned()).collect();
        let death = Death {
            status,
            hint: None,
            last_words,
        };
        self.feed(Event::Exited { child, death })
    }

    pub(super) fn listening(&mut self) -> Done {
        self.feed(Event::Listening)
    }

    pub(super) fn listen_fails(&mut self) -> Done {
        let error = "127.0.0.1:7001: address in use".to_owned();
        self.feed(Event::ListenFailed { error })
    }

    /// Whoever had connected is with a worker.
    pub(super) fn listeners_closed(&mut self) -> Done {
        self.feed(Event::ListenersClosed)
    }

    pub(super) fn stop(&mut self) -> Done {
        self.stop_requested(false)
    }

    pub(super) fn stop_at_once(&mut self) -> Done {
        self.stop_requested(true)
    }

    fn stop_requested(&mut self, at_once: bool) -> Done {
        let origin = "SIGTERM".to_owned();
        self.feed(Event::StopRequested { origin, at_once })
    }

    pub(super) fn tick(&mut self) -> Done {
        self.feed(Event::Tick)
    }

    /// Time passes in which nothing is due.
    #[track_caller]
    pub(super) fn pass(&mut self, time: Duration) -> &mut Self {
        let then = self.now + time;
        let due = self.supervisor.deadline();
        assert!(due.is_none_or(|due| due > then), "something is due {due:?}");
        self.now = then;
        self.tick().does_nothing();
        self
    }

    /// Time passes and nobody looks.
    pub(super) fn skip(&mut self, time: Duration) {
        self.now += time;
    }

    /// How long the supervisor would let the clock run now.
    pub(super) fn patience(&self) -> Option<Duration> {
        Some(self.supervisor.deadline()?.saturating_sub(self.now))
    }

    /// The next deadline is exactly so far away, and is reached.
    #[track_caller]
    pub(super) fn due_after(&mut self, time: Duration) -> Done {
        assert_eq!(self.patience(), Some(time));
        self.wait()
    }

    /// The next deadline is reached, wherever it is.
    #[track_caller]
    pub(super) fn wait(&mut self) -> Done {
        self.now = self.supervisor.deadline().expect("a deadline");
        self.tick()
    }

    /// The lifecycle steps made known so far, as `event seat: reason`; forgets them.
    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// How processes ended so far; forgets it.
    pub(super) fn exit_kinds(&mut self) -> Vec<ExitKind> {
        std::mem::take(&mut self.exits)
    }

    pub(super) fn state(&self) -> ClusterState {
        self.supervisor.report().state
    }

    pub(super) fn seat(&self, seat: Seat) -> SeatReport {
        let seats = self.supervisor.report().seats;
        seats.into_iter().find(|s| s.seat == seat).expect("a seat")
    }

    pub(super) fn seat_state(&self, seat: Seat) -> ChildState {
        self.seat(seat).state
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.supervisor.is_stopping()
    }

    /// A process that never was: the right seat, a number that was not given out.
    pub(super) fn stranger(&mut self, name: &str, seat: Seat) {
        let incarnation = u64::MAX;
        self.names
            .insert(name.to_owned(), ChildId { seat, incarnation });
    }

    #[track_caller]
    pub(super) fn id(&self, name: &str) -> ChildId {
        *self.names.get(name).expect("nobody of that name")
    }

    pub(super) fn feed(&mut self, event: Event) -> Done {
        let mut actions = Vec::new();
        self.supervisor.handle(self.now, event, &mut actions);
        let closes = |a: &Action| matches!(a, Action::CloseListeners | Action::HandOverListeners);
        let closes = actions.iter().any(closes);
        let mut done = Vec::new();
        done.extend(actions.iter().filter_map(|a| self.describe(a)));
        if closes && self.passes_on {
            done.extend(self.listeners_closed().0);
        }
        Done(done)
    }
}

pub(super) fn pid(child: ChildId) -> u32 {
    u32::try_from(child.incarnation).map_or(u32::MAX, |incarnation| 100 + incarnation)
}
