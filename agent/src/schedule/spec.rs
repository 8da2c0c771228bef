//! What an author says about a schedule.

use std::future::Future;
use std::time::Duration;

use hatchery_protocol::child::BoxError;
use hatchery_protocol::child::job::{Handler, Job};

/// How long a run may take if the author does not say.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Something to be run again and again, once per host.
///
/// The agent watches the clock. The job itself runs on one worker, on all of them, or in the agent. Workers name
/// the jobs they can run in `Worker::start`, with `WorkerContext::job`.
///
/// Nothing is checked here: what makes no sense ends the start of the agent, with a [`ScheduleError`] that
/// says what to change.
///
/// ```
/// use std::time::Duration;
/// use hatchery_agent::schedule::{Overlap, Schedule};
///
/// let schedules = vec![
///     Schedule::cron("report", "0 30 2 * * *").zone("Europe/Berlin"),
///     Schedule::every("refresh", Duration::from_secs(10)).immediate().on_all_workers(),
///     Schedule::every("sweep", Duration::from_secs(60))
///         .overlap(Overlap::Queue)
///         .in_agent(|job| async move {
///             println!("run {} of {}", job.number(), job.schedule());
///             Ok(())
///         }),
/// ];
/// # assert_eq!(schedules.len(), 3);
/// ```
///
/// [`ScheduleError`]: super::ScheduleError
#[derive(Debug, Clone)]
#[must_use]
pub struct Schedule {
    pub(super) name: String,
    pub(super) rhythm: Rhythm,
    pub(super) zone: Option<String>,
    pub(super) immediate: bool,
    pub(super) site: Site,
    pub(super) job: Option<String>,
    pub(super) overlap: Overlap,
    pub(super) missed: Missed,
    pub(super) timeout: Duration,
    pub(super) jitter: Duration,
    pub(super) retry_lost: bool,
    pub(super) enabled: bool,
    pub(super) scope: Scope,
}

/// As the author wrote it.
#[derive(Debug, Clone)]
pub(super) enum Rhythm {
    Cron(String),
    Every(Duration),
    AtStart,
}

/// Where it runs, and in the agent: what.
#[derive(Debug, Clone)]
pub(super) enum Site {
    OneWorker,
    AllWorkers,
    Agent(Handler),
}

/// Whose schedule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Each host's own.
    Host,
    /// One for all hosts of a fleet.
    Fleet,
}

/// What becomes of a time at which the run before is not over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing, but for a count in `status`.
    #[default]
    Skip,
    /// One run waits for the end of the other. Further ones are skipped.
    Queue,
    /// Runs go on side by side.
    Allow,
}

/// What becomes of times that passed while nobody could run the schedule: the agent was being replaced, or the
/// machine slept. What is less than a second late is on time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missed {
    /// One run makes up for all of them.
    #[default]
    Once,
    /// Nothing, but for a count in `status`.
    Skip,
}

impl Schedule {
    /// At the times of a cron pattern, in UTC unless [`zone`](Self::zone) says otherwise.
    ///
    /// Five fields (minute, hour, day of month, month, day of week) or six, with seconds first; names, ranges, steps,
    /// lists, `L`, `W`, `#` and nicknames as `@daily` are understood.
    pub fn cron(name: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::new(name.into(), Rhythm::Cron(pattern.into()))
    }

    /// At a fixed rate, for the first time one period after the start. No change of the clock disturbs it. At
    /// least ten milliseconds.
    pub fn every(name: impl Into<String>, period: Duration) -> Self {
        Self::new(name.into(), Rhythm::Every(period))
    }

    /// Once, when everything is ready. Neither a restart of the agent nor a reload or an upgrade repeats it.
    pub fn at_start(name: impl Into<String>) -> Self {
        Self::new(name.into(), Rhythm::AtStart).immediate()
    }

    fn new(name: String, rhythm: Rhythm) -> Self {
        Self {
            name,
            rhythm,
            zone: None,
            immediate: false,
            site: Site::OneWorker,
            job: None,
            overlap: Overlap::default(),
            missed: Missed::default(),
            timeout: DEFAULT_TIMEOUT,
            jitter: Duration::ZERO,
            retry_lost: false,
            enabled: true,
            scope: Scope::Host,
        }
    }

    /// The time zone of the cron pattern, as `Europe/Berlin`.
    ///
    /// Where clocks are put forward, a fixed time that does not exist is made up for right after the gap, and a
    /// pattern with `*` or steps in its time goes on behind it. Where they are put back, a fixed time is run once, and a
    /// pattern with `*` or steps goes on through both hours.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Also once when everything is ready, as [`at_start`](Self::at_start).
    pub const fn immediate(mut self) -> Self {
        self.immediate = true;
        self
    }

    /// Runs on every worker that is ready, instead of on one of them.
    pub fn on_all_workers(mut self) -> Self {
        self.site = Site::AllWorkers;
        self
    }

    /// Runs here, in the agent. When this agent is to be replaced, [`Job::closing`] is cancelled and the job has a
    /// few hundred milliseconds to end.
    pub fn in_agent<F, R>(mut self, code: F) -> Self
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.site = Site::Agent(Handler::new(code));
        self
    }

    /// The name that workers know the job by, where it is not the schedule's.
    pub fn job(mut self, job: impl Into<String>) -> Self {
        self.job = Some(job.into());
        self
    }

    /// What becomes of a time at which the run before is not over. By default it is skipped.
    pub const fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// What becomes of times that passed while nobody could run it. By default one run makes up for them.
    pub const fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// How long a run may take, an hour by default. Then it is dropped at its next `.await`.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs begin up to so much later than planned, each by another delay, so that not all hosts begin at once.
    pub const fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Tries once more, on another worker, when the worker dies in the middle of a run. Only for jobs that may be done
    /// twice.
    pub const fn retry_lost(mut self) -> Self {
        self.retry_lost = true;
        self
    }

    /// Each time is run by one host of the fleet, the one that holds the schedule's lease, instead of by every host.
    /// When that host is gone another one takes over, and times that fell between the two are
    /// [missed](Self::missed) ones. [`Job::fleet_token`] tells a host that has lost its turn from the one that has it.
    ///
    /// Without a fleet (the feature, or the setting `fleet`) the schedule runs on this host, as any other does.
    ///
    /// Not for [`immediate`](Self::immediate) and [`at_start`](Self::at_start): hosts start, a fleet does not.
    pub const fn once_per_fleet(mut self) -> Self {
        self.scope = Scope::Fleet;
        self
    }

    /// Does not run by itself until an operator enables it. It can be run by command.
    pub const fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }
}
