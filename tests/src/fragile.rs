//! A cluster whose workers can be kept from starting.

use std::fs;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::plan::Plan;

impl Plan {
    /// To be able to [break starts](Cluster::break_starts).
    #[must_use]
    pub fn fragile(self) -> Self {
        let file = fault_file(&self);
        self.env("PLAYGROUND_FAULT_FILE", file)
    }
}

impl Cluster {
    /// From now on a worker that starts dies of it.
    #[track_caller]
    pub fn break_starts(&self) {
        self.spoil_starts("exit:7");
    }

    /// From now on this is what a worker's `start` does.
    #[track_caller]
    pub fn spoil_starts(&self, what: &str) {
        fs::write(fault_file(self.plan()), what).unwrap();
    }

    /// From now on workers start again.
    #[track_caller]
    pub fn mend_starts(&self) {
        fs::remove_file(fault_file(self.plan())).unwrap();
    }
}

fn fault_file(plan: &Plan) -> PathBuf {
    plan.path("fault")
}
