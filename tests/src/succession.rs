//! A cluster whose master gives way to another one.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::command::Ran;
use crate::deploy::copy_program;
use crate::plan::Plan;
use crate::{process, trace};

/// A line that the agent in office writes every few milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Signature {
    /// The agent.
    pub pid: u32,
    /// When it came into office: within half an hour the system uses a pid again.
    pub since_ms: u64,
    /// Milliseconds on the host's monotonic clock.
    pub ts_ms: u64,
}

impl Plan {
    /// A cluster that can be followed through upgrades. The program is a file of its own, which a test may
    /// replace.
    #[must_use]
    pub fn upgradable(self) -> Self {
        process::adopt_orphans();
        let office = office(&self);
        self.own_copy().fragile().env("PLAYGROUND_OFFICE", office)
    }

    /// What the agent's `stand_down` does: a fault, and then it stays.
    #[must_use]
    pub fn agent_stand_down(self, what: &str) -> Self {
        self.env("PLAYGROUND_AGENT_STAND_DOWN", what)
    }
}

fn office(plan: &Plan) -> PathBuf {
    plan.path("office.jsonl")
}

fn workers(status: &Value) -> Vec<u64> {
    let workers = status["workers"].as_array().unwrap();
    workers.iter().filter_map(|w| w["pid"].as_u64()).collect()
}

impl Cluster {
    /// Lets a new master take over, by command, and follows it there. Returns what the command said.
    #[track_caller]
    pub fn upgrade(&self) -> Ran {
        let ran = self.verb(&["upgrade"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let ended = self.follow();
        assert_eq!(ended.code(), Some(0), "the old master's end is orderly");
        ran
    }

    /// Looks from here on at the master that answers. Returns how the one before ended.
    #[track_caller]
    pub fn follow(&self) -> ExitStatus {
        let old = self.master();
        let mut new = old;
        self.expect_status("another master answers", |status| {
            new = status["master"]["pid"]
                .as_u64()
                .unwrap()
                .try_into()
                .unwrap();
            new != old
        });
        self.look_at(new)
    }

    /// The command fails with code 7 and these words, and the same master serves.
    #[track_caller]
    pub fn fail_upgrade(&self, words: &[&str]) -> Ran {
        let before = workers(&self.status());
        let ran = self.verb(&["upgrade"]);
        self.expect_failed(&ran, words);
        let status = self.status();
        assert_eq!(status["master"]["pid"], self.master());
        assert_eq!(status["state"], "ready", "{status}");
        assert_eq!(workers(&status), before, "the same workers serve");
        ran
    }

    /// A command that ended with code 7 and these words.
    #[track_caller]
    pub fn expect_failed(&self, ran: &Ran, words: &[&str]) {
        assert_eq!(ran.code, Some(7), "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
        }
    }

    /// What agents in office have written.
    pub fn office(&self) -> Vec<Signature> {
        trace::read(&office(self.plan()))
    }

    /// That no two agents were ever in office at once. Returns for how long, in milliseconds, nobody was, for
    /// each change.
    #[track_caller]
    pub fn expect_one_in_office(&self) -> Vec<u64> {
        let signatures = self.office();
        let mut gone = Vec::new();
        let mut gaps = Vec::new();
        let who = |signature: &Signature| (signature.pid, signature.since_ms);
        for pair in signatures.windows(2) {
            let [before, after] = pair else { continue };
            if who(before) != who(after) {
                gone.push(who(before));
                gaps.push(after.ts_ms.saturating_sub(before.ts_ms));
            }
            assert!(
                !gone.contains(&who(after)),
                "two in office at once: {before:?} {after:?}"
            );
        }
        gaps
    }

    /// Puts another program where this cluster's is.
    #[track_caller]
    pub fn replace_program(&self, with: &Path) {
        let there = self.plan().program();
        let beside = there.with_extension("new");
        copy_program(with, &beside);
        std::fs::rename(&beside, there).unwrap();
    }
}
