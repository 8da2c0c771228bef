//! The application that runs: started once, reloaded with each build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{DevError, Enough, outliving, say};

#[derive(Debug)]
pub(super) struct Application {
    settings: Vec<OsString>,
    master: Option<Child>,
    reload: Option<Reload>,
    /// The build that is to take over when the reload, or the application, has ended.
    next: Option<PathBuf>,
    /// It was told to stop, to make room for a build.
    leaving: bool,
}

/// A build on its way into the running application.
struct Reload {
    program: PathBuf,
    outcome: Pin<Box<dyn Future<Output = Outcome>>>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// What came of a reload.
#[derive(Debug)]
enum Outcome {
    Done,
    Failed,
    /// There is nobody to be reloaded yet.
    NotReady,
}

enum News {
    Ended(ExitStatus),
    Reloaded(Outcome),
}

impl Application {
    pub(super) fn new(settings: Vec<OsString>) -> Result<Self, DevError> {
        let says = |flag: &str| {
            settings.iter().any(|word| {
                let word = word.to_string_lossy();
                word.split('=').next() == Some(flag)
            })
        };
        if says("--daemon") {
            return Err(DevError::Daemon);
        }
        if says("--single") {
            return Err(DevError::Single);
        }
        Ok(Self {
            settings,
            master: None,
            reload: None,
            next: None,
            leaving: false,
        })
    }

    /// Lets this build take over: by a reload if there is something to reload, else by a start.
    pub(super) fn take(&mut self, program: PathBuf) {
        if self.reload.is_some() || self.leaving {
            self.next = Some(program);
        } else if self.master.is_some() {
            let outcome = Box::pin(reload(program.clone(), target(&self.settings)));
            self.reload = Some(Reload { program, outcome });
        } else {
            self.start(&program);
        }
    }

    fn start(&mut self, program: &Path) {
        let started = outliving::command(program)
            .arg("start")
            .args(&self.settings)
            // Whatever the environment and the file say: neither could be reloaded here.
            .args(["--daemon=false", "--single=false"])
            .stdin(Stdio::null())
            // A Ctrl-C is for us, who tell it once: it would take a second word for impatience.
            .process_group(0)
            .spawn();
        match started {
            Ok(master) => self.master = Some(master),
            Err(error) => say(&format!("{} cannot be run: {error}", program.display())),
        }
    }

    /// Waits for what happens to it, and does what follows from that. Goes on with the next call if it is dropped.
    pub(super) async fn progress(&mut self) {
        let Self { master, reload, .. } = self;
        let news = tokio::select! {
            status = ended(master) => News::Ended(status),
            outcome = reloaded(reload) => News::Reloaded(outcome),
        };
        match news {
            News::Ended(status) => self.has_ended(status),
            News::Reloaded(outcome) => self.was_reloaded(&outcome),
        }
    }

    fn has_ended(&mut self, status: ExitStatus) {
        self.master = None;
        self.leaving = false;
        let unfinished = self.reload.take().map(|reload| reload.program);
        match self.next.take().or(unfinished) {
            Some(program) => self.start(&program),
            None => say(&format!(
                "the application has ended: {status}; waiting for a change"
            )),
        }
    }

    fn was_reloaded(&mut self, outcome: &Outcome) {
        let Some(Reload { program, .. }) = self.reload.take() else {
            return;
        };
        match outcome {
            Outcome::Done => say("reloaded"),
            Outcome::Failed => say("the old build serves on; waiting for a change"),
            Outcome::NotReady => {
                // What starts there is out of date.
                self.tell_to_stop();
                self.leaving = true;
                self.next.get_or_insert(program);
                return;
            }
        }
        if let Some(program) = self.next.take() {
            self.take(program);
        }
    }

    /// Stops it in order, and at once if somebody is impatient.
    pub(super) async fn stop(mut self, enough: &mut Enough) {
        self.reload = None;
        while self.master.is_some() {
            self.tell_to_stop();
            tokio::select! {
                _ = ended(&mut self.master) => self.master = None,
                () = enough.said() => {}
            }
        }
    }

    fn tell_to_stop(&self) {
        let pid = self.master.as_ref().and_then(Child::id);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // If it fails, it is gone already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

async fn ended(master: &mut Option<Child>) -> ExitStatus {
    match master {
        // What cannot be waited for is gone.
        Some(master) => master.wait().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

async fn reloaded(reload: &mut Option<Reload>) -> Outcome {
    match reload {
        Some(reload) => reload.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The agent, too: it may have changed as well.
async fn reload(program: PathBuf, target: Vec<OsString>) -> Outcome {
    if !is_ready(&program, &target).await {
        return Outcome::NotReady;
    }
    let reloaded = Command::new(&program)
        .args(["reload", "--agent"])
        .args(target)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    match reloaded {
        Ok(status) if status.success() => Outcome::Done,
        // It has said why.
        Ok(_) => Outcome::Failed,
        Err(error) => {
            say(&format!("{} cannot be run: {error}", program.display()));
            Outcome::Failed
        }
    }
}

/// Whether the application has been ready. Not ready either is one that does not answer yet.
async fn is_ready(program: &Path, target: &[OsString]) -> bool {
    let status = Command::new(program)
        .args(["status", "--json"])
        .args(target)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let status = status.map(|output| serde_json::from_slice::<Value>(&output.stdout));
    matches!(status, Ok(Ok(status)) if status.get("state").is_some_and(|state| state != "starting"))
}

/// Those settings that say which application is meant.
fn target(settings: &[OsString]) -> Vec<OsString> {
    let mut found = Vec::new();
    let mut words = settings.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let names = ["--name", "--runtime-dir", "--config"];
        if names.contains(&text.as_ref()) {
            found.push(word.clone());
            found.extend(words.next().cloned());
        } else if names
            .iter()
            .any(|name| text.starts_with(&format!("{name}=")))
        {
            found.push(word.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_means_the_application_that_was_started() {
        let words =
            |line: &str| -> Vec<OsString> { line.split_whitespace().map(Into::into).collect() };
        for (settings, expected) in [
            ("", ""),
            ("--workers 2 --port 0", ""),
            ("--workers 2 --name blue --port 0", "--name blue"),
            (
                "--runtime-dir=/run/x --config app.toml",
                "--runtime-dir=/run/x --config app.toml",
            ),
        ] {
            assert_eq!(target(&words(settings)), words(expected), "{settings}");
        }
    }

    #[test]
    fn nothing_is_run_in_the_background_or_where_nobody_can_be_replaced() {
        let refused = |setting: &str| {
            let settings = vec!["--workers".into(), "2".into(), setting.into()];
            Application::new(settings).unwrap_err()
        };
        for setting in ["--daemon", "--daemon=true"] {
            assert!(matches!(refused(setting), DevError::Daemon), "{setting}");
        }
        for setting in ["--single", "--single=true"] {
            assert!(matches!(refused(setting), DevError::Single), "{setting}");
        }
    }
}
