//! Runs an axum application as a **master**, one **agent** and N **workers** that share its ports.
//!
//! - The *master* binds the ports, starts the others, watches, replaces and stops them. It runs none of
//!   your code and serves no HTTP, so there is nothing of yours in it that could crash.
//! - The *agent* is the place for what must exist once: schedules, long connections, watching a
//!   configuration. Optional.
//! - The *workers* serve requests, each with a router of its own and, by default, one thread. A crash, a
//!   leak or a hang in one of them costs that one's requests only.
//!
//! # An application
//!
//! Implement [`Worker`], and [`Agent`] if you need it, and hand both to an [`App`] in a plain `main`:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use hatchery::{App, BoxError, Worker, WorkerContext, async_trait};
//!
//! struct Web;
//!
//! #[async_trait]
//! impl Worker for Web {
//!     async fn start(&mut self, _context: &WorkerContext) -> Result<Router, BoxError> {
//!         Ok(Router::new().route("/", get(|| async { "hello" })))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     App::new("hello").worker(Web).run()
//! }
//! ```
//!
//! `main` is not `async` and starts no thread before [`App::run`]: the same executable is run again for
//! each process, and every process begins in this `main`. A worker builds its own runtime afterwards.
//!
//! # Running it
//!
//! The program is its own tool: `hello` or `hello start` runs it in the foreground, `hello --daemon` in the
//! background, `hello status` shows it, `hello events` follows what happens and `hello stop` ends it in
//! order. `hello --help` lists every setting; each can also stand in a TOML file (`--config FILE`) or in
//! the environment (`HATCHERY_WORKERS=4`). `hello check` says what is wrong with them, and
//! `hello print-config` shows which value holds and where it came from.
//!
//! Keys of its own an application has under `[app]` in the same file, as a type of its own: [`App::config`].
//!
//! `--single` runs agent and one worker inside of the master's process, for small machines and quick tests: the same hooks in the
//! same order, and nobody who is replaced.
//!
//! # Order
//!
//! 1. The addresses are bound. One in use ends the start at once.
//! 2. The agent starts, and only when it is ready the workers do.
//! 3. When every worker is ready the ports begin to listen: nobody reaches a half-started application.
//!    Now each process's `egg_ready` hook runs, once in its life.
//! 4. A process that fails before this point fails the start, and nothing is left running. One that dies
//!    after it is replaced, while its peers go on serving.
//! 5. A stop lets the workers finish their requests, then the agent, then the master leaves. If the master
//!    itself is killed, the others follow it within their grace.
//!
//! # TLS
//!
//! With the feature `tls`, an address may name a certificate: `--listen '[::]:443?cert=app.pem&key=app.key'`.
//! The workers notice when it is renewed, and a session that began on one of them goes on on any other.
//!
//! # More than one host
//!
//! With the feature `fleet`, the agents of all hosts that run an application meet in a Redis server
//! (`--fleet redis://host:6379`): they send each other messages, see each other, and hold leases on what one
//! host alone may do. Workers take part through their agent. See [`fleet`], [`Context::fleet`] and `AgentContext::fleet`.
//!
//! # Programs that know nothing of hatchery
//!
//! With the feature `program`, the workers of an [`App::of_program`](https://docs.rs/hatchery/latest/hatchery/struct.App.html)
//! are any program that takes its listening sockets from systemd (`LISTEN_FDS`). The command `hatchery run` is that.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` | TLS for addresses that name a certificate |
//! | `fleet` | several hosts that meet in Redis: messages, members, leases |
//! | `program` | workers that are another program: [`App::of_program`](https://docs.rs/hatchery/latest/hatchery/struct.App.html) |
//! | `testing` | real clusters of the application inside its tests |
//!
//! It needs Linux; on other systems the build ends with a sentence that says so.
//!
//! # Logging
//!
//! Use [`tracing`](https://docs.rs/tracing); every line comes out with the process it came from. Install a
//! global subscriber before [`App::run`] to have your own instead.
#![forbid(unsafe_code)]
// docs.rs says of each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod app;
mod cli;
mod config;
mod dispatch;
mod logging;
mod single;
mod systemd;
#[cfg(feature = "testing")]
pub mod testing;

pub use app::App;
pub use async_trait::async_trait;
pub use axum;
pub use hatchery_agent::{
    Agent, AgentContext, Feed, LeadError, Leader, NoAgent, StandDown, schedule,
};
pub use hatchery_protocol::boot::{ChildSettings, HttpLimits};
pub use hatchery_protocol::child::members::Snapshot;
pub use hatchery_protocol::child::{
    BoxError, CancellationToken, Context, Follower, Job, Members, Messenger, State,
};
pub use hatchery_protocol::child::{follower, messenger, state};
pub use hatchery_protocol::message::Member;
pub use hatchery_protocol::section::ConfigError;
pub use hatchery_worker::{ClientInfo, Incoming, RawStream, TlsInfo, Worker, WorkerContext};

/// The hosts that run an application: messages between them, members, and with the feature `fleet` leases.
pub mod fleet {
    #[cfg(feature = "fleet")]
    pub use hatchery_agent::fleet::*;
    pub use hatchery_protocol::child::fleet::{
        Answer, Answers, FleetClient, FleetError, FleetMember, FleetMessage, LARGEST_PAYLOAD,
        LONGEST_NAME, MemberId, Subscription,
    };
}

/// What the pages show is compiled.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/tutorial.md")]
    mod tutorial {}
    #[doc = include_str!("../docs/coming-from/node-cluster.md")]
    mod coming_from_node {}
}
