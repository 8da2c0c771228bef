//! Orders that go on while a test does other things.

use std::path::Path;
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::control::Control;

/// An order over the control socket, whose outcome comes later.
#[derive(Debug)]
pub struct Pending {
    /// What was asked for.
    pub request: Value,
    outcome: JoinHandle<Option<Value>>,
}

impl Pending {
    /// Whether the outcome is there.
    pub fn is_over(&self) -> bool {
        self.outcome.is_finished()
    }

    /// Waits for the outcome: nothing, or why it failed or was refused.
    #[track_caller]
    pub fn outcome(self) -> Result<(), String> {
        let outcome = self.outcome.join().unwrap();
        let outcome = outcome.unwrap_or_else(|| panic!("{}: no outcome", self.request));
        let why = match outcome["reply"].as_str() {
            Some("finished") => &outcome["error"],
            _ => &outcome["message"],
        };
        why.as_str().map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// Waits for the end of the conversation, with an outcome or, where the master was killed, without.
    #[track_caller]
    pub fn forget(self) {
        self.outcome.join().unwrap();
    }
}

impl Cluster {
    /// Asks for this over the control socket, and waits for nothing.
    pub fn order(&self, request: Value) -> Pending {
        let path = self.control_path();
        let asked = request.clone();
        Pending {
            request,
            outcome: thread::spawn(move || ask(&path, &asked)),
        }
    }
}

/// The last reply: nobody is left without one.
fn ask(path: &Path, request: &Value) -> Option<Value> {
    let mut control = Control::connect(path).unwrap();
    control.send_body(request.to_string().as_bytes()).unwrap();
    loop {
        let reply = control.receive()?;
        if matches!(reply["reply"].as_str(), Some("finished" | "error")) {
            return Some(reply);
        }
    }
}
