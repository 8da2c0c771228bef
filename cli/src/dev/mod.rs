//! `hatchery dev`: builds the application, runs it, and reloads it whenever a build of what has changed succeeds.
//!
//! What does not compile changes nothing: the errors are in the terminal, and the last good workers serve on. A reload starts the new
//! worker first, so a request finds either the old build or the new one, and waits at most. Building and reloading go on side by side;
//! what is written meanwhile is never missed.
//!
//! Whoever is started here does not outlive this process: builds are killed, the application is stopped in order. Only where this
//! process is killed itself does a build that is under way go on to its own end; the application leaves all the same.

mod application;
mod build;
mod changes;
mod outliving;
mod package;
mod sources;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::application::Application;
use self::build::Build;
use self::changes::Changes;
use self::package::Package;

/// The command line makes no sense.
const USAGE: u8 = 2;
/// There is nothing to build, or nothing to watch.
const BAD_PLACE: u8 = 4;
/// The system has nothing to give.
const INTERNAL: u8 = 70;

#[derive(Debug, Parser)]
#[command(
    name = "hatchery dev",
    about = "Build and run the application of this folder, and reload it when it changes"
)]
pub(crate) struct Cli {
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// The program to run, where the package has several
    #[arg(long, value_name = "NAME")]
    bin: Option<String>,
    /// Features of the package to build with
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
    /// Ask no registry for crates
    #[arg(long)]
    offline: bool,
    /// Reload when this file changes, or what is in this folder; may be given several times
    #[arg(long, value_name = "PATH")]
    watch: Vec<PathBuf>,
    /// For the application, as behind `start`
    #[arg(last = true, value_name = "SETTINGS")]
    settings: Vec<OsString>,
    /// Become the program behind `--`, for as long as that process lives
    #[arg(long, hide = true, value_name = "PID")]
    child_of: Option<i32>,
}

/// Why there is nothing to develop here.
#[derive(Debug, Error)]
enum DevError {
    #[error(
        "--daemon cannot be given: the application runs for as long as `hatchery dev` does, in this terminal"
    )]
    Daemon,
    #[error(
        "--single cannot be given: `hatchery dev` reloads, and in one process nobody can be replaced; here the application has \
         processes of its own"
    )]
    Single,
    #[error("cargo cannot be run: {0}")]
    Cargo(io::Error),
    #[error(
        "there is no package here: go into the folder of one, or make one with `hatchery new NAME`"
    )]
    NoPackage,
    #[error("{} is a workspace without a package of its own: go into the folder of one of its packages", .0.display())]
    Workspace(PathBuf),
    #[error("{} cannot be watched: {source}", path.display())]
    Watch { path: PathBuf, source: io::Error },
    #[error("signals and timers cannot be had: {0}")]
    Runtime(io::Error),
}

impl DevError {
    const fn code(&self) -> u8 {
        match self {
            Self::Daemon | Self::Single => USAGE,
            Self::Cargo(_) | Self::NoPackage | Self::Workspace(_) | Self::Watch { .. } => BAD_PLACE,
            Self::Runtime(_) => INTERNAL,
        }
    }
}

/// Does what `arguments` ask, those behind the word `dev`.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let words = std::iter::once("hatchery dev".into()).chain(arguments.iter().cloned());
    let cli = match Cli::try_parse_from::<_, OsString>(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help comes this way, too.
            let _ = error.print();
            return ExitCode::from(if error.exit_code() == 0 { 0 } else { USAGE });
        }
    };
    if let Some(parent) = cli.child_of {
        return outliving::become_program(parent, &cli.settings);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(DevError::Runtime)
        .and_then(|runtime| runtime.block_on(develop(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.code())
        }
    }
}

/// Until a signal says that it is enough.
async fn develop(cli: Cli) -> Result<(), DevError> {
    let mut enough = Enough::listen().map_err(DevError::Runtime)?;
    let package = Package::of(&cli)?;
    let mut changes = Changes::watch(&package, &cli.watch)?;
    let mut application = Application::new(cli.settings)?;
    let mut build = Some(Build::begin(&package));
    loop {
        tokio::select! {
            () = enough.said() => break,
            () = changes.next() => {
                // What it would come to is out of date. Before the next one begins: both write the same files.
                drop(build.take());
                build = Some(Build::begin(&package));
            }
            outcome = build::finished(&mut build) => {
                build = None;
                match outcome {
                    Ok(program) => {
                        if let Err(error) = changes.follow(&program) {
                            say(&format!("{error}: its changes are not seen"));
                        }
                        application.take(program);
                    }
                    Err(why) => say(&format!("{why}; waiting for a change")),
                }
            }
            () = application.progress() => {}
        }
    }
    drop(build);
    application.stop(&mut enough).await;
    Ok(())
}

/// Ctrl-C, or `TERM`.
struct Enough {
    interrupt: Signal,
    terminate: Signal,
}

impl Enough {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn said(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "hatchery dev: {text}");
}
