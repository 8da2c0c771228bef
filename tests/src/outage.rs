//! A time in which a cluster has no worker.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::event::count;
use crate::plan::Plan;
use crate::process;

/// Every worker is dead, and the replacements do not get ready.
#[derive(Debug)]
#[must_use = "it ends by `end`"]
pub struct Outage<'c> {
    cluster: &'c Cluster,
    workers: u32,
}

impl Plan {
    /// To be able to have an [`Outage`].
    #[must_use]
    pub fn with_outages(self) -> Self {
        let fault = fault_file(&self);
        self.env("PLAYGROUND_FAULT_FILE", fault)
    }
}

fn fault_file(plan: &Plan) -> PathBuf {
    plan.path("fault")
}

impl<'c> Outage<'c> {
    /// Kills all of the workers, whose number is `workers`.
    #[track_caller]
    pub fn begin(cluster: &'c Cluster, workers: u32) -> Self {
        fs::write(fault_file(cluster.plan()), "hang").unwrap();
        for slot in 0..workers {
            process::kill(cluster.worker(slot), Signal::KILL);
        }
        cluster.wait_nth("worker-exited", workers as usize);
        Self { cluster, workers }
    }

    /// Lets workers start again, after a check that none did so far.
    #[track_caller]
    pub fn end(self) {
        let Self { cluster, workers } = self;
        let expected = workers as usize;
        // The hanging ones are replaced, too.
        cluster.wait_nth("worker-spawned", 2 * expected);
        assert_eq!(count(&cluster.events(), "worker-ready"), expected);
        fs::remove_file(fault_file(cluster.plan())).unwrap();
        for slot in 0..workers {
            process::kill(cluster.worker(slot), Signal::KILL);
        }
    }
}
