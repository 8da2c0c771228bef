//! The one course of life that agent and worker share.
//!
//! ```text
//!  start ── ready ── (egg-ready) egg_ready ── (order to leave) drain ── before_close ── exit
//!    │                                 │                                         │
//!    └ failure: the process leaves with code 1 and says which hook failed ───────┘
//! ```
//!
//! Between egg-ready and the order to leave an agent may be told that its configuration has changed, and to stand down,
//! because another one is about to take over.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::gauge::GaugeCells;
use super::hook::{self, HookError};
use super::messenger::Courier;
use super::news;
use super::output;
use super::shared::Shared;
use super::shutdown::{DrainCause, Draining};
use super::thread;
use super::watch::{OVERRUN, leave};
use super::{BoxError, Child};
use crate::beside::beside;
use crate::clock::monotonic;
use crate::exit::Exit;
use crate::message::{FromChild, clip};

/// How often a task proves that the runtime runs.
const RUNTIME_BEAT: Duration = Duration::from_secs(1);

/// What a role does in each part of its life.
///
/// Hooks are the author's, with what the role itself has to do before them; `drain` does not fail.
pub trait Life: Send {
    /// The trait that the author implements, for messages: `Agent` or `Worker`.
    const TRAIT: &'static str;

    /// The author's `start`.
    fn start(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Everyone is ready: begin to work, then the author's `egg_ready`.
    fn egg_ready(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Resolves when the process can do its work no longer, with the reason: for a role whose work may end by
    /// itself. Dropped and asked for again at any time from readiness to the order to leave.
    fn broken(&mut self) -> impl Future<Output = BoxError> + Send {
        std::future::pending()
    }

    /// The author's `config_changed`: the context shows another configuration.
    fn config_changed(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send {
        async { Ok(()) }
    }

    /// The author's `stand_down`: end what may run only once. Says whether this process has anything to do
    /// afterwards.
    fn stand_down(&mut self) -> impl Future<Output = Result<StandDown, BoxError>> + Send {
        async { Ok(StandDown::Leave) }
    }

    /// Take no new work and finish what is there. Returns when nothing is left, or at the deadline.
    fn drain(&mut self, order: Draining) -> impl Future<Output = ()> + Send;

    /// The author's `before_close`.
    fn before_close(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// What an agent does when another one is about to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandDown {
    /// It leaves altogether.
    Leave,
    /// What may run only once has ended; the rest goes on for the workers that still drain.
    Stay,
}

/// Lives that life to its end. The returned code is what `main` should end with.
pub async fn run(mut child: Child, mut life: impl Life) -> Exit {
    let beat = tokio::spawn(prove_runtime(child.gauges()));
    let news = match news::pass_on(Arc::clone(&child.shared)) {
        Ok(news) => news,
        Err(error) => {
            tracing::error!("the runtime cannot hear of the master: {error}");
            return Exit::Internal;
        }
    };
    // Without it output stays where it is, when the log file is opened again.
    let output = output::follow(Arc::clone(&child.shared)).inspect_err(|error| {
        tracing::warn!("a log file opened again will not be noticed: {error}");
    });
    let (office, egg_ready) = (&child.shared.office, &child.shared.egg_ready);
    let courier = child
        .post
        .take()
        .map(|post| Courier::start(Arc::clone(office), post, egg_ready.clone()));
    let courier = match courier.transpose() {
        Ok(courier) => courier,
        Err(error) => {
            tracing::error!("the runtime cannot carry messages: {error}");
            return Exit::Internal;
        }
    };
    let exit = live(&mut child, &mut life).await;
    if let Some(courier) = courier {
        courier.finish().await;
    }
    beat.abort();
    if let Ok(output) = output {
        output.abort();
    }
    news.abort();
    // What was counted since the master's last beat.
    let shared = &child.shared;
    shared.link.send(&FromChild::Beat(shared.gauges.read()));
    if !child.is_process {
        // What it started belongs to the process, which goes on.
        return exit;
    }
    leave(child.shared.shutdown.order()).unwrap_or(exit)
}

async fn live<L: Life>(child: &mut Child, life: &mut L) -> Exit {
    let shared = Arc::clone(&child.shared);
    let shutdown = shared.shutdown.clone();
    let limit = shared.settings.start_timeout;
    let name = |hook: &str| format!("{}::{hook}", L::TRAIT);

    let started = tokio::select! {
        started = run_hook(&shared, name("start"), limit, life.start()) => started,
        order = shutdown.ordered() => {
            // Nothing was opened, so there is nothing to close.
            announce(&shared, order);
            return Exit::Orderly;
        }
    };
    if let Err(error) = started {
        return fail(&shared, &error);
    }
    if let Err(error) = child.restore_output() {
        tracing::warn!("standard output stays with the master: {error}");
    }
    shared.link.send(&FromChild::Ready);

    let mut exit = Exit::Orderly;
    let order = tokio::select! {
        order = shutdown.ordered() => order,
        error = life.broken() => {
            exit = give_up(&shared, name("run"), &*error);
            shutdown.ordered().await
        }
        () = shared.egg_ready.cancelled() => {
            tokio::select! {
                done = run_hook(&shared, name("egg_ready"), limit, life.egg_ready()) => {
                    if let Err(error) = done {
                        // Clients may be connected already: they are served to the end.
                        exit = fail(&shared, &error);
                        leave_by_itself(&shared, DrainCause::HookFailed);
                    }
                }
                () = shutdown.standing_down().cancelled() => {}
            }
            exit = work(&shared, &mut *life, exit).await;
            if shutdown.order().is_none() {
                exit = stand_down(&shared, life, name("stand_down"), exit).await;
            }
            shutdown.ordered().await
        }
    };

    announce(&shared, order);
    life.drain(order).await;
    // The order may have become stricter meanwhile. The hook gets a moment in any case: the process is
    // ended from outside, by the watch thread or by the master, `OVERRUN` after the deadline.
    let order = shutdown.order().unwrap_or(order);
    let left = order.deadline.saturating_sub(monotonic());
    let closing = run_hook(
        &shared,
        name("before_close"),
        left.max(OVERRUN / 2),
        life.before_close(),
    );
    if let Err(error) = closing.await {
        // The process leaves all the same; a goodbye that failed changes nothing but the log.
        tracing::error!("{error}");
    }
    exit
}

/// Until what may run only once has to end: cancelled by the order to leave, too, and then there is nothing more to wait
/// for. The configuration may change meanwhile.
async fn work<L: Life>(shared: &Shared, life: &mut L, exit: Exit) -> Exit {
    let standing_down = shared.shutdown.standing_down();
    loop {
        let section = tokio::select! {
            biased;
            () = standing_down.cancelled() => return exit,
            error = life.broken() => return give_up(shared, format!("{}::run", L::TRAIT), &*error),
            section = shared.configured.changed() => section,
        };
        let changed = async {
            if let Err(error) = shared.configured.take_up(section) {
                tracing::warn!(
                    "the configuration that was read again is not for this build, which goes on with the old one: {error}"
                );
                return Ok(());
            }
            life.config_changed().await
        };
        let limit = shared.settings.start_timeout;
        let hook = format!("{}::config_changed", L::TRAIT);
        let changed = tokio::select! {
            biased;
            () = standing_down.cancelled() => return exit,
            changed = run_hook(shared, hook, limit, changed) => changed,
        };
        if let Err(error) = changed {
            let exit = fail(shared, &error);
            leave_by_itself(shared, DrainCause::HookFailed);
            return exit;
        }
    }
}

/// What may run only once ends; a process that has nothing else to do, or cannot end it, leaves.
async fn stand_down<L: Life>(shared: &Shared, life: &mut L, name: String, exit: Exit) -> Exit {
    let limit = shared.settings.start_timeout;
    let stood_down = tokio::select! {
        stood_down = run_hook(shared, name, limit, life.stand_down()) => stood_down,
        _ = shared.shutdown.ordered() => return exit,
    };
    match stood_down {
        Ok(StandDown::Stay) => {
            shared.link.send(&FromChild::StoodDown);
            exit
        }
        Ok(StandDown::Leave) => {
            leave_by_itself(shared, DrainCause::Asked);
            exit
        }
        Err(error) => {
            let exit = fail(shared, &error);
            leave_by_itself(shared, DrainCause::HookFailed);
            exit
        }
    }
}

/// Its work has ended by itself: says so, and leaves.
fn give_up(shared: &Shared, hook: String, error: &(dyn std::error::Error + 'static)) -> Exit {
    let message = hook::with_sources(error);
    let exit = fail(shared, &HookError::Failed { hook, message });
    leave_by_itself(shared, DrainCause::HookFailed);
    exit
}

/// Orders this process to leave, in its own time.
fn leave_by_itself(shared: &Shared, cause: DrainCause) {
    let deadline = monotonic() + shared.settings.drain_timeout;
    shared.shutdown.give(cause, deadline);
}

async fn run_hook<T>(
    shared: &Shared,
    name: String,
    limit: Duration,
    hook: impl Future<Output = Result<T, BoxError>> + Send,
) -> Result<T, HookError> {
    shared.set_running_hook(Some(name.clone()));
    let result = hook::run(name, limit, hook).await;
    shared.set_running_hook(None);
    result
}

/// Says why this process leaves, on a thread that may wait: a log that nobody reads must not cost the
/// requests that are to be finished.
fn announce(shared: &Arc<Shared>, order: Draining) {
    let shared = Arc::clone(shared);
    let seat = thread::seat();
    let said = beside(move || {
        if let Some(seat) = seat {
            thread::work_for(seat);
        }
        match order.cause {
            DrainCause::MasterLost => {
                let how = shared.master_lost.get().map_or("", String::as_str);
                tracing::warn!("lost the master ({how}), leaving");
            }
            DrainCause::Signal => tracing::info!("got SIGTERM from outside, leaving"),
            DrainCause::Asked => tracing::debug!("asked to leave"),
            // The failure was logged when it happened.
            DrainCause::HookFailed => {}
        }
    });
    // Where there is no thread it is left unsaid.
    drop(said);
}

fn fail(shared: &Shared, error: &HookError) -> Exit {
    tracing::error!("{error}");
    let mut message = error.to_string();
    clip(&mut message);
    shared.link.send(&FromChild::Failed {
        hook: error.hook().to_owned(),
        message,
        timed_out: matches!(error, HookError::TimedOut { .. }),
    });
    Exit::HookFailed
}

/// Runs on the runtime, so that a blocked runtime shows by its absence.
async fn prove_runtime(gauges: Arc<GaugeCells>) {
    loop {
        let before = monotonic();
        tokio::time::sleep(RUNTIME_BEAT).await;
        let late = monotonic().saturating_sub(before + RUNTIME_BEAT);
        gauges.runtime_ran(late);
    }
}
