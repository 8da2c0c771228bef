//! What an author builds in `main`.

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use hatchery_agent::{Agent, NoAgent};
use hatchery_protocol::section::Judge;
use hatchery_worker::Worker;
use serde::de::DeserializeOwned;

use crate::dispatch;

/// An application: a name, an agent and a worker.
///
/// Every process of the cluster begins in the same `main` and builds the same `App`; [`run`](Self::run)
/// finds out which process this is. So constructors should only put values together: connections, threads
/// and files belong into [`Agent::start`] and [`Worker::start`], which run where they are needed.
///
/// ```no_run
/// use axum::Router;
/// use hatchery::{Agent, AgentContext, App, BoxError, Worker, WorkerContext, async_trait};
///
/// struct Clock;
///
/// #[async_trait]
/// impl Agent for Clock {
///     async fn start(&mut self, _context: &AgentContext) -> Result<(), BoxError> {
///         Ok(())
///     }
/// }
///
/// struct Web;
///
/// #[async_trait]
/// impl Worker for Web {
///     async fn start(&mut self, _context: &WorkerContext) -> Result<Router, BoxError> {
///         Ok(Router::new())
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     App::new("clock")
///         .version(env!("CARGO_PKG_VERSION"))
///         .agent(Clock)
///         .worker(Web)
///         .run()
/// }
/// ```
#[must_use = "an application does nothing until `run`"]
pub struct App {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) agent: Box<dyn Agent>,
    pub(crate) worker: Option<Box<dyn Worker>>,
    /// Whether its workers keep the program that its configuration names.
    pub(crate) keeps_program: bool,
    pub(crate) commands: Vec<OwnCommand>,
    /// What knows the type of its own configuration, if it has one.
    pub(crate) config: Option<Judge>,
}

/// A command that is the application's own.
pub(crate) struct OwnCommand {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&[OsString]) -> ExitCode,
}

impl App {
    /// An application of that name: 1 to 64 characters out of `A-Z a-z 0-9 . _ -`.
    ///
    /// The name says where a running application is found, unless `--name` says otherwise.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            agent: Box::new(NoAgent),
            worker: None,
            keeps_program: false,
            commands: Vec::new(),
            config: None,
        }
    }

    /// An application whose workers are another program, one that was not written with hatchery: the one that its
    /// settings name (`program`, or behind `--` on the command line). The program `hatchery` is one; another
    /// one may have an agent beside the program.
    ///
    /// ```no_run
    /// fn main() -> std::process::ExitCode {
    ///     hatchery::App::of_program("legacy").run()
    /// }
    /// ```
    #[cfg(feature = "program")]
    pub fn of_program(name: impl Into<String>) -> Self {
        Self {
            keeps_program: true,
            ..Self::new(name)
        }
    }

    /// The application's own version, for `--version`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The application has a configuration of its own, of this type: the section `[app]` of the configuration file, with what
    /// `HATCHERY_APP__...` says in the environment laid over it. Agent and workers get it by
    /// [`context.config()`](crate::Context::config).
    ///
    /// `check` and `start` read it as this type and refuse what does not fit with a sentence that says which key, who says it
    /// and what it should be; a `reload` whose workers cannot read it fails, and the old ones go on. Keys that the type does
    /// not have are refused. What a variable says becomes what its field is: text as it stands, a number, `true` or `false`, and
    /// for an array several of them with commas between.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Settings {
    ///     /// `greeting = "Hello"` under `[app]`, or `HATCHERY_APP__GREETING=Hello`.
    ///     greeting: String,
    ///     /// May be left out.
    ///     #[serde(default)]
    ///     database: Database,
    /// }
    ///
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default)]
    /// struct Database {
    ///     /// `port = 5432` under `[app.database]`, or `HATCHERY_APP__DATABASE__PORT=5432`.
    ///     port: u16,
    /// }
    ///
    /// struct Web;
    ///
    /// #[async_trait]
    /// impl Worker for Web {
    ///     async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
    ///         let settings: Settings = context.config()?;
    ///         Ok(Router::new().route("/", get(|| async move { settings.greeting.clone() })))
    ///     }
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     App::new("greeter").config::<Settings>().worker(Web).run()
    /// }
    /// ```
    ///
    /// Rules of the application's own belong into the type (`#[serde(try_from = "...")]`), so that `check` knows them. What such a rule says
    /// is shown to the operator as it is: it should not repeat a value that may be a secret.
    pub fn config<T: DeserializeOwned>(mut self) -> Self {
        self.config = Some(|section| section.read::<T>().map(drop));
        self
    }

    /// What must exist once. Without this there is an agent process that does nothing.
    pub fn agent(mut self, agent: impl Agent + 'static) -> Self {
        self.agent = Box::new(agent);
        self
    }

    /// What serves requests. Every application has one.
    pub fn worker(mut self, worker: impl Worker + 'static) -> Self {
        self.worker = Some(Box::new(worker));
        self
    }

    /// A command of the application's own beside `start` and the others, as in `myapp migrate`. It is run in a process
    /// that is nothing else, with the arguments behind its name; `about` is for `--help`.
    ///
    /// ```no_run
    /// use std::process::ExitCode;
    ///
    /// # let app = hatchery::App::new("x");
    /// app.command("migrate", "Bring the database up to date", |arguments| {
    ///     println!("migrating, as {arguments:?} say");
    ///     ExitCode::SUCCESS
    /// })
    /// # ;
    /// ```
    pub fn command(
        mut self,
        name: &'static str,
        about: &'static str,
        run: fn(&[OsString]) -> ExitCode,
    ) -> Self {
        self.commands.push(OwnCommand { name, about, run });
        self
    }

    /// Does what the command line asks, as whichever process this is, and returns the code to end with.
    ///
    /// Call it first thing in a plain `main`, before there is a second thread or a runtime, and return its
    /// result: it changes signal handling and the environment of the process, and the agent and the workers
    /// live inside this call, too.
    #[must_use = "return it from `main`"]
    pub fn run(self) -> ExitCode {
        dispatch::run(self)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
