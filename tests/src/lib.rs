//! The harness of hatchery's black-box tests.
//!
//! Everything here looks at a cluster from outside, as an operator, a client or a kernel does: by its
//! events, its HTTP answers, its control socket, its exit code and the processes it leaves behind. The
//! fixture is one binary, the playground of `examples/`, whose faults are chosen by environment and route.
//!
//! Rules that every suite keeps:
//!
//! - tests wait for what they need, with a deadline, through [`wait::until`]; they never sleep;
//! - each cluster has its own directory and a port of its own, so tests run in parallel;
//! - "everybody is gone" is proven by [`Survivors`]: end-of-file on a pipe that every descendant of the
//!   master inherits, not by looking for processes;
//! - a cluster that goes out of scope is stopped and checked: exit code 0, no survivor, no socket left.
//!   When a test fails, everything it started is killed and what the master wrote is shown.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a harness reports by panicking, and cargo shows what a failed test printed"
)]

pub mod cargo;
pub mod chance;
pub mod cluster;
pub mod command;
pub mod control;
pub mod control_group;
pub mod crowd;
pub mod cut;
pub mod daemon;
pub mod deploy;
pub mod developing;
pub mod ended;
pub mod event;
pub mod fifo;
pub mod fragile;
pub mod held;
pub mod holdings;
pub mod hosts;
pub mod http;
pub mod http2;
pub mod injection;
pub mod jobs;
pub mod lines;
pub mod link;
pub mod listeners;
pub mod loopback;
pub mod mail;
pub mod manager;
pub mod members;
pub mod metrics;
pub mod order;
pub mod outage;
pub mod pictures;
pub mod plan;
pub mod process;
pub mod redis;
pub mod scaffold;
pub mod source;
pub mod state;
pub mod succession;
pub mod survivors;
pub mod tls;
pub mod trace;
pub mod traffic;
pub mod visitors;
pub mod wait;

pub use cluster::Cluster;
pub use command::Ran;
pub use crowd::Crowd;
pub use daemon::Daemon;
pub use developing::Developing;
pub use ended::Ended;
pub use event::{Event, Step, step};
pub use plan::Plan;
pub use survivors::Survivors;
pub use traffic::Traffic;
pub use visitors::Visitors;

/// A plan for the playground that cargo built together with the calling test.
#[macro_export]
macro_rules! playground {
    () => {
        $crate::Plan::new(env!("CARGO_BIN_EXE_playground"))
    };
}

/// The path of a build that speaks another protocol than the playground's.
#[macro_export]
macro_rules! foreigner {
    () => {
        ::std::path::Path::new(env!("CARGO_BIN_EXE_foreigner"))
    };
}

/// A test for each strategy, `$name::round_robin` and so on, which calls `$test` with the strategy's name.
#[macro_export]
macro_rules! each_strategy {
    ($name:ident => $test:ident) => {
        $crate::each_strategy! { $name => $test; round_robin: "round-robin",
            least_connections: "least-connections", weighted: "weighted", ip_hash: "ip-hash",
            shared: "shared", reuse_port: "reuse-port" }
    };
    // Those where the master accepts.
    ($name:ident => $test:ident, handed over) => {
        $crate::each_strategy! { $name => $test; round_robin: "round-robin",
            least_connections: "least-connections", weighted: "weighted", ip_hash: "ip-hash" }
    };
    ($name:ident => $test:ident; $($strategy:ident: $text:literal),*) => {
        mod $name {
            $(
                #[test]
                fn $strategy() {
                    super::$test($text);
                }
            )*
        }
    };
}
