//! What an author holds: the fleet, if there is one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hatchery_protocol::boot::FleetBoot;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connect::connect;
use super::hub::Hub;
use super::keys::Keys;
use super::lease::Leases;
use super::link::{self, Current, GOODBYE, Link};
use super::relay::Relay;
use super::request::Questions;
use super::status::Counters;
use super::{ConnectError, FleetError, FleetMember, MemberId, random, room};

/// How much may be on its way to Redis at once, in bytes.
const ON_THE_WAY: usize = 16 * 1024 * 1024;

/// The hosts that run the same application, as far as they share a Redis. Cheap to clone.
///
/// Without the setting `fleet` there is none, and every call says so with [`FleetError::NotConfigured`]: an
/// application runs on one host as it does on many.
#[derive(Debug, Clone, Default)]
pub struct Fleet(Option<Arc<Inner>>);

/// What a member tells of itself.
#[derive(Clone)]
pub struct About {
    /// The application's name. Who has the same, on the same Redis, is one fleet.
    pub name: String,
    /// The application's own version.
    pub version: Option<String>,
    /// How many workers are ready.
    pub workers: Arc<dyn Fn() -> usize + Send + Sync>,
}

impl std::fmt::Debug for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("About")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) me: MemberId,
    /// This member's cluster.
    pub(super) cluster: u64,
    pub(super) keys: Keys,
    pub(super) link: Link,
    pub(super) hub: Arc<Hub>,
    /// What the other processes of this host listen to.
    pub(super) relay: Relay,
    /// Counts what was broadcast.
    pub(super) broadcasts: AtomicU64,
    pub(super) questions: Questions,
    pub(super) leases: Leases,
    pub(super) counters: Counters,
    pub(super) on_the_way: Arc<Semaphore>,
    host: String,
    about: About,
}

impl Fleet {
    /// Becomes a member, in the background, and stays one until [`leave`](Self::leave). Must be called on a runtime.
    pub fn join(boot: FleetBoot, about: About) -> Self {
        Self::join_as(boot, about, random::number())
    }

    /// The same as a member of this cluster: agents of one cluster follow each other.
    pub(crate) fn join_as(boot: FleetBoot, about: About, cluster: u64) -> Self {
        let inner = Arc::new(Inner {
            me: MemberId(random::name()),
            cluster,
            keys: Keys::new(&about.name),
            link: Link::new(),
            hub: Arc::default(),
            relay: Relay::default(),
            broadcasts: AtomicU64::new(0),
            questions: Questions::default(),
            leases: Leases::new(boot.lease),
            counters: Counters::new(),
            on_the_way: Arc::new(Semaphore::new(room::places(ON_THE_WAY))),
            host: host(),
            about,
        });
        tokio::spawn(link::run(Arc::clone(&inner), boot));
        Self(Some(inner))
    }

    /// Whether there is a fleet, whether in reach or not.
    pub fn is_configured(&self) -> bool {
        self.0.is_some()
    }

    /// This member.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotConfigured`].
    pub fn me(&self) -> Result<FleetMember, FleetError> {
        Ok(self.inner()?.describe())
    }

    /// Waits until there is a connection. For ever, where there is no fleet.
    pub async fn connected(&self) {
        let Some(inner) = &self.0 else {
            return std::future::pending().await;
        };
        let mut current = inner.link.watch();
        let up = current.wait_for(|current| matches!(current, Current::Up(_)));
        // The sender lives as long as `inner`.
        let _ = up.await;
    }

    /// Is no member any more. Leases that are still held are not given back: who held one may still be at work.
    pub async fn leave(&self) {
        let Some(inner) = &self.0 else {
            return;
        };
        inner.link.stop.cancel();
        let mut current = inner.link.watch();
        let left = current.wait_for(|current| matches!(current, Current::Left));
        // A Redis that does not answer forgets this member by itself.
        let _ = timeout(GOODBYE, left).await;
    }

    pub(super) fn inner(&self) -> Result<&Arc<Inner>, FleetError> {
        self.0.as_ref().ok_or(FleetError::NotConfigured)
    }
}

impl Inner {
    pub(super) fn describe(&self) -> FleetMember {
        FleetMember {
            id: self.me.clone(),
            host: self.host.clone(),
            pid: std::process::id(),
            workers: u32::try_from((self.about.workers)()).unwrap_or(u32::MAX),
            version: self.about.version.clone(),
        }
    }
}

/// Looks whether the fleet's Redis can be used, before anything rests on it. Blocks, for some seconds at the most.
///
/// # Errors
///
/// What keeps it from being used, also what may pass by itself: ask [`ConnectError::is_configuration`].
pub fn check(boot: &FleetBoot) -> Result<(), ConnectError> {
    let unreachable = |error: std::io::Error| ConnectError::Unreachable {
        address: boot.address.clone(),
        reason: error.to_string(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unreachable)?;
    let checked = runtime.block_on(connect(boot)).map(|_| ());
    // A name that nobody resolves must not be waited for.
    runtime.shutdown_background();
    checked
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
