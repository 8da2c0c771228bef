//! Real clusters inside of tests.
//!
//! A test starts the application's own executable as a cluster on a port that the kernel chooses, waits for what happens, asks, kills, and
//! stops it. Nothing is simulated: what passes here passes with the same processes, signals and sockets in production. Needs the
//! feature `testing`, which belongs into `[dev-dependencies]`.
//!
//! ```no_run
//! use hatchery::testing::{Application, Event, Failure, Role};
//!
//! # const PROGRAM: &str = "myapp";
//! # /*
//! const PROGRAM: &str = env!("CARGO_BIN_EXE_myapp"); // in tests/lifecycle.rs
//!
//! #[test]
//! # */
//! fn it_starts_in_order_heals_and_stops() -> Result<(), Failure> {
//!     let cluster = Application::new(PROGRAM).workers(2).start()?;
//!     cluster.expect_order(&[Event::AgentReady, Event::WorkerSpawned, Event::WorkerReady, Event::EggReady])?;
//!     assert_eq!(cluster.get("/")?.status, 200);
//!
//!     let mark = cluster.mark();
//!     cluster.kill(Role::Worker(0))?;
//!     cluster.wait_since(mark, Event::WorkerReplaced)?;
//!     assert_eq!(cluster.get("/")?.status, 200);
//!
//!     cluster.stop()
//! }
//! # it_starts_in_order_heals_and_stops().unwrap();
//! ```
//!
//! Every call that waits has a limit (30 seconds, see [`Application::patience`]) and none sleeps for a time. What fails
//! is a [`Failure`]: its text has what was waited for, every event so far and what the processes wrote. A cluster that goes out of scope is
//! stopped, and killed if that does not help.
//!
//! It finds out who answers a request by itself ([`Cluster::who_answers`]): the kernel knows which process has the connection.

mod application;
mod cluster;
mod events;
mod failure;
mod http;
mod who;

pub use application::Application;
pub use cluster::{Cluster, Role};
pub use failure::Failure;
pub use hatchery_protocol::event::{EventName as Event, EventRecord};
pub use http::Response;
