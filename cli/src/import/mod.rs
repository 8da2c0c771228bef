//! `hatchery import`: a configuration out of another process manager's.
//!
//! What has no counterpart is not passed over: it stands in the new file as a comment, with the reason.

mod output;
mod pm2;
mod read;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command line makes no sense.
const USAGE: u8 = 2;
/// The file does not, or what it becomes cannot be written.
const BAD_CONFIG: u8 = 4;

#[derive(Debug, Parser)]
#[command(
    name = "hatchery import",
    about = "Make a configuration out of another program's"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From an ecosystem file of PM2's: JSON, YAML, or JavaScript that is nothing but data
    Pm2 {
        /// The ecosystem file
        file: PathBuf,
        /// Only the application of this name
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// Take the variables of `env_NAME`, too, as PM2 does with --env NAME
        #[arg(long, value_name = "NAME")]
        env: Option<String>,
        /// Write here instead of on standard output: a file, or a folder that gets NAME.toml for each application
        #[arg(long, value_name = "PATH")]
        output: Option<PathBuf>,
    },
}

/// Does what `arguments` ask, those behind the word `import`.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let words = std::iter::once("hatchery import".into()).chain(arguments.iter().cloned());
    let From::Pm2 {
        file,
        only,
        env,
        output,
    } = match Cli::try_parse_from::<_, OsString>(words) {
        Ok(cli) => cli.from,
        Err(error) => {
            // Help comes this way, too.
            let _ = error.print();
            return ExitCode::from(if error.exit_code() == 0 { 0 } else { USAGE });
        }
    };
    let imported = read::read(&file)
        .and_then(|value| pm2::import(&value, &file, only.as_deref(), env.as_deref()))
        .and_then(|applications| output::write(&applications, output.as_deref()));
    match imported {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}
