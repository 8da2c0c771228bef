//! New applications, made by the command `hatchery` and built by the cargo that runs the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{Ran, run, run_within};
use crate::plan::bare;
use crate::source;

/// How long a build may take on a machine with other work, of which nothing is there yet.
pub const BUILD: Duration = Duration::from_secs(900);

/// Variables for cargo under which all builds of new applications share what they are made of, and take as little time
/// as may be.
pub fn build_environment() -> Vec<(&'static str, OsString)> {
    vec![
        ("CARGO_TARGET_DIR", target_folder().into()),
        ("CARGO_INCREMENTAL", "0".into()),
        ("CARGO_PROFILE_DEV_DEBUG", "0".into()),
        ("CARGO_NET_OFFLINE", "true".into()),
    ]
}

/// Beside what this test was built into, so that it stays from one run to the next.
pub fn target_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // Below `debug/deps`.
    test.ancestors().nth(3).unwrap().join("scaffold")
}

/// Makes an application that is built against this checkout.
#[track_caller]
pub fn scaffold(hatchery: &str, place: &Path, name: &str) -> PathBuf {
    let mut new = bare(hatchery);
    new.args(["new", name, "--hatchery"])
        .arg(source::root())
        .current_dir(place);
    let ran = run(new);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    place.join(name)
}

/// The cargo that runs the tests.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs it in the folder of a new application.
#[track_caller]
pub fn run_cargo(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(cargo());
    command
        .args(arguments)
        .current_dir(folder)
        .envs(build_environment());
    run_within(BUILD, command)
}
