//! What cargo says of the workspace.

use std::process::Command;

use serde_json::Value;

use crate::source;

/// cargo at the root of the workspace, away from the network, with the dependencies of the lock file.
pub fn cargo(verb: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([verb, "--offline", "--locked", "--color", "never"])
        .current_dir(source::root());
    command
}

/// What a command prints that has to succeed.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// All packages, and who depends on whom, on Linux.
pub fn metadata() -> Value {
    let mut command = cargo("metadata");
    command.args(["--format-version", "1"]);
    // What other systems need was never downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command.args(["--filter-platform", &platform]);
    serde_json::from_str(&printed(&mut command)).unwrap()
}

/// The packages of the workspace, by what cargo says of each.
pub fn members(metadata: &Value) -> Vec<&Value> {
    let ids = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .filter(|package| ids.contains(&package["id"]))
        .collect()
}

/// Those that others can get.
pub fn published(metadata: &Value) -> Vec<&Value> {
    let mut members = members(metadata);
    // `publish = false` is an empty list of registries.
    members.retain(|package| package["publish"].is_null());
    members
}
