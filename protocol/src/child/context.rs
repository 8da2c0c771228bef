//! What a process may know about itself and its cluster.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::configured::Configured;
use super::fleet::FleetClient;
use super::{Child, Follower, Members, Messenger, Shutdown, State};
use crate::boot::ChildSettings;
use crate::id::{Generation, Seat};
use crate::section::ConfigError;

/// Who a process is, and how it hears of its cluster: what the contexts of agent and worker share. Cheap
/// to clone.
#[derive(Debug, Clone)]
pub struct Context(Arc<Facts>);

/// All of it behind one reference count: axum clones a handler's state for every request.
#[derive(Debug)]
struct Facts {
    name: String,
    seat: Seat,
    generation: Generation,
    incarnation: u64,
    replaces: bool,
    master: u32,
    settings: ChildSettings,
    members: Members,
    messenger: Messenger,
    fleet: FleetClient,
    shutdown: Shutdown,
    configured: Arc<Configured>,
}

impl Context {
    /// The context of this process.
    pub fn new(child: &Child) -> Self {
        let boot = child.boot();
        let messenger = child.messenger();
        let max_message = boot.post.unwrap_or_default().max_message;
        let in_fleet = boot.host.is_some();
        let fleet = in_fleet.then(|| FleetClient::new(&messenger, max_message));
        Self(Arc::new(Facts {
            name: boot.name.clone(),
            seat: boot.child.seat,
            generation: boot.generation,
            incarnation: boot.child.incarnation,
            replaces: boot.replaces,
            master: child.master(),
            settings: boot.settings.clone(),
            members: child.members(),
            messenger,
            fleet: fleet.unwrap_or_default(),
            shutdown: child.shutdown(),
            configured: Arc::clone(&child.shared.configured),
        }))
    }

    /// The application's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The place this process holds in the cluster.
    pub fn seat(&self) -> Seat {
        self.0.seat
    }

    /// Which build and configuration of the application this process runs. Counts from 1.
    pub fn generation(&self) -> Generation {
        self.0.generation
    }

    /// A number that no other process of this master ever had or will have. Unlike a pid it is never
    /// used again, so it is the right thing to tag data with.
    pub fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    /// Whether this process was started into a cluster that was ready already. What must happen once in
    /// the life of a cluster has happened then.
    pub fn replaces(&self) -> bool {
        self.0.replaces
    }

    /// This process's id.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// The master's process id.
    pub fn master_pid(&self) -> u32 {
        self.0.master
    }

    /// The settings that bind this process.
    pub fn settings(&self) -> &ChildSettings {
        &self.0.settings
    }

    /// The application's own configuration, as a value of the type that `App::config` was given: the section `[app]` of the
    /// configuration file, with what `HATCHERY_APP__...` says in the environment laid over it.
    ///
    /// Each call reads it anew: keep what it returns. A worker's never changes, for a reload replaces workers. An agent's changes
    /// just before its hook `config_changed`.
    ///
    /// ```
    /// use hatchery_protocol::child::{BoxError, Context};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Settings {
    ///     greeting: String,
    /// }
    ///
    /// fn greeting(context: &Context) -> Result<String, BoxError> {
    ///     let settings: Settings = context.config()?;
    ///     Ok(settings.greeting)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// None for the type of `App::config`: the process would not have come so far. For another one, what it cannot take.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.0.configured.current().read()
    }

    /// Cancelled when it is known that this process is to leave, while it still accepts and serves: a
    /// readiness check answers with 503 from then on. How long that is before anything else happens is the
    /// setting `pre_stop_delay`; without it, and when a process leaves for another reason than a stop, it is
    /// when the process is asked to leave.
    ///
    /// ```
    /// use hatchery_protocol::child::Context;
    ///
    /// /// The status that a load balancer is told.
    /// fn readiness(context: &Context) -> u16 {
    ///     if context.stopping().is_cancelled() { 503 } else { 200 }
    /// }
    /// ```
    pub fn stopping(&self) -> &CancellationToken {
        self.0.shutdown.announced()
    }

    /// Cancelled when open-ended work has to end. In an agent that is when it is asked to leave, just
    /// before `before_close`: loops end, and whoever has to see one end keeps its handle and awaits it there,
    /// because tasks that still run after `before_close` are dropped. In a worker it is after the lame duck, in which clients are only
    /// asked to leave: streams stop, WebSockets say goodbye, and what does not end within the rest of the
    /// drain is cut off.
    pub fn shutdown(&self) -> &CancellationToken {
        self.0.shutdown.token()
    }

    /// Cancelled in an agent when another agent is about to take over and what may run only once has to end
    /// here: at an upgrade, and with every order to leave. What workers that still drain may need goes on until
    /// [`shutdown`](Self::shutdown). See the agent's hook `stand_down`.
    pub fn standing_down(&self) -> &CancellationToken {
        self.0.shutdown.standing_down()
    }

    /// Who is ready, now and from now on. Every call gives a handle of its own.
    pub fn members(&self) -> Members {
        self.0.members.clone()
    }

    /// The way to the other processes of the cluster.
    pub fn messenger(&self) -> &Messenger {
        &self.0.messenger
    }

    /// Small state that all processes of the cluster share. The agent holds it.
    pub fn state(&self) -> State {
        State::new(&self.0.messenger)
    }

    /// The client that the agent holds by that name. There is one, or not, when it is used.
    pub fn follower(&self, leader: &str) -> Follower {
        Follower::new(&self.0.messenger, leader)
    }

    /// The hosts that run this application, by way of the agent. Without the setting `fleet`, and in a build without the
    /// feature of that name, its calls say that there is none.
    pub fn fleet(&self) -> &FleetClient {
        &self.0.fleet
    }
}
