//! A build under way.

use std::io;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::package::Package;

/// Cargo and all that it has started. Given up when dropped.
#[derive(Debug)]
pub(super) struct Build {
    cargo: io::Result<Child>,
    /// What it has written so far.
    messages: Vec<u8>,
    bin: Option<String>,
}

impl Build {
    pub(super) fn begin(package: &Package) -> Self {
        // A group of its own: to be given up as a whole, and not by a Ctrl-C that is for us.
        let cargo = Command::from(package.build()).process_group(0).spawn();
        Self {
            cargo,
            messages: Vec::new(),
            bin: package.bin().map(str::to_owned),
        }
    }

    /// The program, or why there is none. Goes on with the next call if it is dropped.
    async fn finished(&mut self) -> Result<PathBuf, String> {
        let no_cargo = |error: &io::Error| format!("cargo cannot be run: {error}");
        let cargo = self.cargo.as_mut().map_err(|error| no_cargo(error))?;
        if let Some(stdout) = &mut cargo.stdout {
            while stdout
                .read_buf(&mut self.messages)
                .await
                .is_ok_and(|read| read > 0)
            {}
        }
        let status = cargo.wait().await.map_err(|error| no_cargo(&error))?;
        if !status.success() {
            return Err("the build failed".to_owned());
        }
        let messages = String::from_utf8_lossy(&self.messages);
        let programs: Vec<Program> = messages.lines().filter_map(program).collect();
        choose(programs, self.bin.as_deref())
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        // `None` once it was waited for: then the number may be somebody else's.
        let pid = self.cargo.as_ref().ok().and_then(Child::id);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Waits for a build, if there is one.
pub(super) async fn finished(build: &mut Option<Build>) -> Result<PathBuf, String> {
    match build {
        Some(build) => build.finished().await,
        None => std::future::pending().await,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    path: PathBuf,
}

fn choose(programs: Vec<Program>, bin: Option<&str>) -> Result<PathBuf, String> {
    let names: Vec<String> = programs
        .iter()
        .map(|program| program.name.clone())
        .collect();
    let mut meant = programs
        .into_iter()
        .filter(|program| bin.is_none_or(|bin| program.name == bin));
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only.path),
        (None, _) => Err("the package has no program: it needs a src/main.rs".to_owned()),
        (Some(_), Some(_)) => Err(format!(
            "the package has several programs ({}): choose one with --bin NAME",
            names.join(", ")
        )),
    }
}

/// The program that a message of cargo's is about.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" {
        return None;
    }
    Some(Program {
        name: message.get("target")?.get("name")?.as_str()?.to_owned(),
        path: message.get("executable")?.as_str()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(name: &str) -> Program {
        Program {
            name: name.to_owned(),
            path: format!("/t/debug/{name}").into(),
        }
    }

    #[test]
    fn a_program_is_found_in_cargos_messages() {
        for (message, found) in [
            (
                r#"{"reason":"compiler-artifact","target":{"name":"shop"},"executable":"/t/debug/shop"}"#,
                Some(shop("shop")),
            ),
            (
                r#"{"reason":"compiler-artifact","target":{"name":"shop"},"executable":null}"#,
                None,
            ),
            (r#"{"reason":"build-finished","success":true}"#, None),
            ("   Compiling shop", None),
            ("", None),
        ] {
            assert_eq!(program(message), found, "{message}");
        }
    }

    #[test]
    fn there_has_to_be_one_program() {
        let two = || vec![shop("shop"), shop("import")];
        assert_eq!(choose(vec![shop("shop")], None), Ok("/t/debug/shop".into()));
        assert_eq!(choose(two(), Some("import")), Ok("/t/debug/import".into()));
        let error = choose(two(), None).unwrap_err();
        assert!(
            error.contains("(shop, import): choose one with --bin"),
            "{error}"
        );
        let error = choose(Vec::new(), None).unwrap_err();
        assert!(error.contains("no program"), "{error}");
    }
}
