//! The package: where it is, and what cargo is asked to do about it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Cli, DevError};

#[derive(Debug)]
pub(super) struct Package {
    folder: PathBuf,
    arguments: Vec<OsString>,
    /// The program that is meant, if somebody has said.
    bin: Option<String>,
}

impl Package {
    /// The one that the current folder belongs to.
    pub(super) fn of(cli: &Cli) -> Result<Self, DevError> {
        let manifest = locate()?;
        let text = std::fs::read_to_string(&manifest).unwrap_or_default();
        // One that is no TOML will be: cargo says what is wrong with it.
        let table: Option<toml::Table> = text.parse().ok();
        let package = table.as_ref().map(|table| table.get("package"));
        if package == Some(None) {
            return Err(DevError::Workspace(manifest));
        }
        let default = package
            .flatten()
            .and_then(|package| package.get("default-run"))
            .and_then(toml::Value::as_str);
        let bin = cli.bin.clone().or_else(|| default.map(str::to_owned));
        let folder = manifest.parent().unwrap_or(&manifest).to_owned();
        let arguments = arguments(cli, bin.as_deref());
        Ok(Self {
            folder,
            arguments,
            bin,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn bin(&self) -> Option<&str> {
        self.bin.as_deref()
    }

    /// Builds it. What comes out is for programs to read, what goes wrong is for people.
    pub(super) fn build(&self) -> Command {
        let mut command = Command::new(cargo());
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

fn arguments(cli: &Cli, bin: Option<&str>) -> Vec<OsString> {
    let mut arguments = vec!["build", "--message-format=json-render-diagnostics"];
    arguments.extend(cli.release.then_some("--release"));
    arguments.extend(cli.offline.then_some("--offline"));
    if let Some(features) = &cli.features {
        arguments.extend(["--features", features]);
    }
    match bin {
        Some(bin) => arguments.extend(["--bin", bin]),
        None => arguments.push("--bins"),
    }
    arguments.into_iter().map(OsString::from).collect()
}

fn locate() -> Result<PathBuf, DevError> {
    let located = Command::new(cargo())
        .args(["locate-project", "--message-format=plain"])
        .stderr(Stdio::null())
        .output()
        .map_err(DevError::Cargo)?;
    if !located.status.success() {
        return Err(DevError::NoPackage);
    }
    Ok(String::from_utf8_lossy(&located.stdout).trim_end().into())
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
