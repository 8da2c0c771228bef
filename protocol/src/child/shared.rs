//! What the watch thread and the runtime of one child both see.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::configured::Configured;
use super::gauge::GaugeCells;
use super::link::LinkWriter;
use super::members::{Members, Snapshot};
use super::messenger::{Office, Peer};
use super::news::News;
use super::output::Output;
use super::schedules::Inbox;
use super::shutdown::Shutdown;
use crate::boot::{Boot, ChildSettings};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ChildSettings,
    pub(super) link: LinkWriter,
    pub(super) gauges: Arc<GaugeCells>,
    pub(super) members: Members,
    /// The author's messages.
    pub(super) office: Arc<Office>,
    pub(super) news: News,
    pub(super) shutdown: Shutdown,
    /// The author's hook that runs now, for the last words of a process that is ended.
    hook: Mutex<Option<String>>,
    /// How the loss of the master showed, once it has.
    pub(super) master_lost: OnceLock<String>,
    /// Cancelled, so to speak, when egg-ready comes: a latch that any number of tasks can await.
    pub(super) egg_ready: CancellationToken,
    /// Where the process writes.
    pub(super) output: Output,
    /// What the master says about schedules.
    pub(super) schedules: Inbox,
    /// The application's own configuration.
    pub(super) configured: Arc<Configured>,
}

impl Shared {
    pub(super) fn new(boot: &Boot, link: LinkWriter) -> io::Result<Self> {
        let members = Snapshot {
            agent: boot.agent,
            workers: boot.workers.clone(),
        };
        let me = Peer {
            incarnation: boot.child.incarnation,
            seat: boot.child.seat,
            pid: std::process::id(),
        };
        Ok(Self {
            settings: boot.settings.clone(),
            link,
            gauges: Arc::new(GaugeCells::new(boot.listeners.len())),
            members: Members::new(members.clone()),
            office: Arc::new(Office::new(me, boot.post.unwrap_or_default())),
            news: News::new(members)?,
            shutdown: Shutdown::new(),
            hook: Mutex::new(None),
            master_lost: OnceLock::new(),
            egg_ready: CancellationToken::new(),
            output: Output::new()?,
            schedules: Inbox::default(),
            configured: Arc::new(Configured::new(boot.section.clone().unwrap_or_default())),
        })
    }

    /// A hook begins, or has ended.
    pub(super) fn set_running_hook(&self, hook: Option<String>) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Never waits: the watch thread asks.
    pub(super) fn running_hook(&self) -> Option<String> {
        self.hook.try_lock().ok()?.clone()
    }
}
