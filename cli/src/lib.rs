//! The command `hatchery`: for programs that were not written with hatchery, and for beginning one that is.
//!
//! - `hatchery run -- ./server` keeps any program that takes its sockets from systemd (`LISTEN_FDS`) as the workers of
//!   a cluster; `hatchery status --app server` and the other verbs are those of every application.
//! - `hatchery import pm2 FILE` makes such a configuration out of PM2's.
//! - `hatchery new NAME` makes an application to begin with.
//! - `hatchery dev` builds the application of the folder, runs it, and reloads it as it is written.
//!
//! It is thin: running is the facade's `App::of_program`, of which this is the one without an agent of its own. A library
//! only so that the tests of the workspace can start it.
#![forbid(unsafe_code)]

mod dev;
mod import;
mod new;
#[cfg(test)]
mod reference;

use std::process::ExitCode;

use hatchery::App;

/// Does what the command line asks, as whichever process this is.
pub fn run() -> ExitCode {
    App::of_program("hatchery")
        .command(
            "import",
            "Make a configuration out of another program's: hatchery import pm2 ecosystem.config.json",
            import::run,
        )
        .command(
            "new",
            "Make an application to begin with: hatchery new shop",
            new::run,
        )
        .command(
            "dev",
            "Build and run the application of this folder, and reload it when it changes",
            dev::run,
        )
        .run()
}
