//! The command `hatchery`. See the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hatchery_cli::run()
}
