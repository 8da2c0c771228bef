//! A cluster whose workers and agents can be kept from starting.

use std::fs;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::fifo;
use crate::plan::Plan;

impl Plan {
    /// To be able to [break starts](Cluster::break_starts).
    #[must_use]
    pub fn fragile(self) -> Self {
        let (file, agents) = (fault_file(&self), agent_fault_file(&self));
        self.env("PLAYGROUND_FAULT_FILE", file)
            .env("PLAYGROUND_AGENT_FAULT_FILE", agents)
    }

    /// From now on the next agent waits in its `start` until it is [let go](Self::release_agent).
    #[track_caller]
    pub fn hold_agent(&self) {
        fifo::make(&agent_fault_file(self));
    }

    /// Lets an agent go on that waits, or is on its way to that.
    #[track_caller]
    pub fn release_agent(&self) {
        fs::write(agent_fault_file(self), "ok").unwrap();
        fs::remove_file(agent_fault_file(self)).unwrap();
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

    /// From now on this is what an agent's `start` does.
    #[track_caller]
    pub fn spoil_agents(&self, what: &str) {
        fs::write(agent_fault_file(self.plan()), what).unwrap();
    }

    /// From now on agents start again.
    #[track_caller]
    pub fn mend_agents(&self) {
        fs::remove_file(agent_fault_file(self.plan())).unwrap();
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

fn agent_fault_file(plan: &Plan) -> PathBuf {
    plan.path("agent-fault")
}
