//! What agents have said about schedules.
//!
//! Kept beside the main loop, as beats are: an agent with many schedules wakes nobody. The ledger outlives agents, so
//! that the next one goes on where the last one ended.

use std::collections::BTreeMap;

use hatchery_protocol::id::{ChildId, Generation};
use hatchery_protocol::schedule::{
    HISTORY, MAX_SCHEDULES, Outcome, Place, Run, RunEnd, ScheduleNews, ScheduleStatus,
};
use tokio::sync::oneshot;

/// What becomes of an operator's command.
pub(crate) type Answer = Result<(), String>;

/// The state of all schedules, as of the last word about each.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    known: BTreeMap<String, ScheduleStatus>,
    /// Which jobs the schedules of each living agent need.
    agents: BTreeMap<ChildId, Needs>,
    /// Who runs schedules, or was the last to do so.
    office: Option<(ChildId, Vec<String>)>,
    /// Whether a new master goes on with what is known.
    handed_over: bool,
    last: u64,
    open: BTreeMap<u64, (ChildId, oneshot::Sender<Answer>)>,
}

#[derive(Debug)]
struct Needs {
    generation: Generation,
    jobs: Vec<String>,
}

impl Ledger {
    /// An agent is created.
    pub(crate) fn agent(&mut self, child: ChildId, generation: Generation) {
        let jobs = Vec::new();
        self.agents.insert(child, Needs { generation, jobs });
    }

    /// An agent takes over, or a first one begins.
    pub(crate) fn in_office(&mut self, child: ChildId) {
        let jobs = self.agents.get(&child).map(|needs| needs.jobs.clone());
        self.office = Some((child, jobs.unwrap_or_default()));
    }

    /// An agent says something.
    pub(crate) fn hear(&mut self, child: ChildId, news: ScheduleNews) {
        match news {
            ScheduleNews::Jobs { jobs } => {
                if let Some(needs) = self.agents.get_mut(&child) {
                    needs.jobs = jobs;
                }
            }
            ScheduleNews::Names { names } => self.known.retain(|name, _| names.contains(name)),
            ScheduleNews::Changed(status) => self.know(status),
            ScheduleNews::Answer { order, error } => {
                if let Some((_, to)) = self.open.remove(&order) {
                    // An operator who left is fine.
                    let _ = to.send(error.map_or(Ok(()), Err));
                }
            }
        }
    }

    /// What is known of one schedule. An agent has no more of them than it may.
    pub(crate) fn know(&mut self, status: ScheduleStatus) {
        if self.known.len() < MAX_SCHEDULES || self.known.contains_key(&status.name) {
            self.known.insert(status.name.clone(), status);
        }
    }

    /// All schedules, by name.
    pub(crate) fn known(&self) -> Vec<ScheduleStatus> {
        self.known.values().cloned().collect()
    }

    /// A new master goes on with this, or does not.
    pub(crate) const fn hand_over(&mut self, to_a_new_master: bool) {
        self.handed_over = to_a_new_master;
    }

    /// What the old master's agent left of a schedule. Its runs go on in workers that no agent of ours can ask.
    pub(crate) fn inherit(&mut self, mut status: ScheduleStatus) {
        if status.place != Place::Agent {
            for running in &mut status.running {
                running.elsewhere = true;
            }
        }
        self.know(status);
    }

    /// A worker says that a run is over. The agent in office knows by itself; this is for the next one. Returns whether
    /// a new master has to hear of it.
    pub(crate) fn ended_on_a_worker(&mut self, end: &RunEnd) -> bool {
        // On all workers, the end on one of them is not that of the run.
        let known = self.known.get(&end.schedule);
        if known.is_none_or(|status| status.place != Place::OneWorker) {
            return false;
        }
        self.ended(end);
        self.handed_over
    }

    /// A run is over.
    pub(crate) fn ended(&mut self, end: &RunEnd) {
        let Some(status) = self.known.get_mut(&end.schedule) else {
            return;
        };
        let mut running = status.running.iter();
        let Some(at) = running.position(|run| run.number == end.number) else {
            return;
        };
        let run = status.running.swap_remove(at);
        let run = Run {
            number: run.number,
            cause: run.cause,
            started_ms: run.started_ms,
            duration_ms: end.duration_ms,
            outcome: end.outcome.clone(),
        };
        status.history.insert(0, run);
        status.history.truncate(HISTORY);
    }

    /// The old master's workers are gone. Returns the runs of which nobody will hear any more.
    pub(crate) fn nobody_elsewhere(&mut self) -> Vec<RunEnd> {
        let mut ends = Vec::new();
        for (name, status) in &mut self.known {
            for running in status.running.iter_mut().filter(|run| run.elsewhere) {
                running.elsewhere = false;
                ends.push(RunEnd {
                    schedule: name.clone(),
                    number: running.number,
                    duration_ms: 0,
                    outcome: Outcome::Unobserved,
                });
            }
        }
        ends
    }

    /// Who runs schedules now.
    pub(crate) fn office(&self) -> Option<ChildId> {
        let (child, _) = self.office.as_ref()?;
        self.agents.contains_key(child).then_some(*child)
    }

    /// What a worker of that generation has to know: the agent of its own generation may need other jobs than the
    /// one in office.
    pub(crate) fn jobs(&self, generation: Generation) -> Vec<String> {
        let mut own = self.agents.values().rev();
        match own.find(|needs| needs.generation == generation) {
            Some(needs) => needs.jobs.clone(),
            None => self
                .office
                .as_ref()
                .map(|(_, jobs)| jobs.clone())
                .unwrap_or_default(),
        }
    }

    /// Notes that somebody waits for an answer of the agent in office. Returns the agent and the order's number.
    pub(crate) fn ask(&mut self, to: oneshot::Sender<Answer>) -> Option<(ChildId, u64)> {
        let Some(child) = self.office() else {
            let _ = to.send(Err("there is no agent at the moment: try again".to_owned()));
            return None;
        };
        self.last += 1;
        self.open.insert(self.last, (child, to));
        Some((child, self.last))
    }

    /// That agent is gone.
    pub(crate) fn forget(&mut self, child: ChildId) {
        self.agents.remove(&child);
        let gone = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, (whom, _))| *whom == child);
        let (theirs, open): (BTreeMap<_, _>, BTreeMap<_, _>) = gone;
        self.open = open;
        for (_, to) in theirs.into_values() {
            let _ = to.send(Err(
                "the agent is gone, and said nothing of the outcome".to_owned()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hatchery_protocol::id::Seat;
    use hatchery_protocol::schedule::{Cause, Running};

    fn agent(incarnation: u64) -> ChildId {
        ChildId {
            seat: Seat::Agent,
            incarnation,
        }
    }

    fn jobs(names: &[&str]) -> ScheduleNews {
        let jobs = names.iter().map(ToString::to_string).collect();
        ScheduleNews::Jobs { jobs }
    }

    fn status(name: &str) -> ScheduleStatus {
        ScheduleStatus {
            name: name.to_owned(),
            ..ScheduleStatus::default()
        }
    }

    #[test]
    fn a_worker_has_to_know_what_the_agent_of_its_generation_needs() {
        let mut ledger = Ledger::default();
        ledger.agent(agent(1), 1);
        ledger.hear(agent(1), jobs(&["old"]));
        assert_eq!(ledger.jobs(1), ["old"]);
        ledger.in_office(agent(1));
        // A reload of workers alone.
        assert_eq!(ledger.jobs(2), ["old"]);
        // A reload with the agent; should it fail, the old generation needs what it needed.
        ledger.agent(agent(5), 3);
        ledger.hear(agent(5), jobs(&["new"]));
        assert_eq!(ledger.jobs(3), ["new"]);
        assert_eq!(ledger.jobs(1), ["old"]);
        ledger.in_office(agent(5));
        ledger.forget(agent(1));
        assert_eq!(ledger.jobs(4), ["new"]);
        // While there is no agent at all.
        ledger.forget(agent(5));
        assert_eq!(ledger.jobs(3), ["new"]);
    }

    #[test]
    fn whoever_asks_is_answered_once() {
        let mut ledger = Ledger::default();
        let (to, mut answer) = oneshot::channel();
        assert_eq!(ledger.ask(to), None);
        assert!(answer.try_recv().unwrap().is_err());
        ledger.agent(agent(1), 1);
        ledger.in_office(agent(1));
        let (to, mut first) = oneshot::channel();
        assert_eq!(ledger.ask(to), Some((agent(1), 1)));
        let (to, mut second) = oneshot::channel();
        assert_eq!(ledger.ask(to), Some((agent(1), 2)));
        let order = 2;
        let answer = ScheduleNews::Answer { order, error: None };
        ledger.hear(agent(1), answer.clone());
        ledger.hear(agent(1), answer);
        assert_eq!(second.try_recv().unwrap(), Ok(()));
        ledger.forget(agent(1));
        assert!(first.try_recv().unwrap().is_err());
    }

    fn running(place: Place) -> ScheduleStatus {
        let run = |number| Running {
            number,
            cause: Cause::Due,
            started_ms: 1,
            attempt: 1,
            elsewhere: false,
        };
        ScheduleStatus {
            place,
            running: vec![run(1), run(2)],
            ..status("a")
        }
    }

    fn end(number: u64) -> RunEnd {
        RunEnd {
            schedule: "a".to_owned(),
            number,
            duration_ms: 3,
            outcome: Outcome::Succeeded,
        }
    }

    #[test]
    fn a_run_that_ends_while_nobody_is_in_office_is_known_to_the_next() {
        let mut ledger = Ledger::default();
        ledger.know(running(Place::OneWorker));
        assert!(!ledger.ended_on_a_worker(&end(1)), "nobody else goes on");
        ledger.hand_over(true);
        assert!(ledger.ended_on_a_worker(&end(1)), "told twice at worst");
        let known = ledger.known().remove(0);
        assert_eq!(known.running.len(), 1);
        assert_eq!(known.history.len(), 1);
        assert_eq!(known.history[0].outcome, Outcome::Succeeded);
        // One worker of all.
        ledger.know(running(Place::AllWorkers));
        assert!(!ledger.ended_on_a_worker(&end(1)));
        assert_eq!(ledger.known().remove(0).running.len(), 2);
    }

    #[test]
    fn runs_of_the_old_master_go_on_until_its_workers_are_gone() {
        let mut ledger = Ledger::default();
        ledger.inherit(running(Place::OneWorker));
        let elsewhere = |ledger: &Ledger| {
            let running = ledger.known().remove(0).running;
            running.into_iter().filter(|run| run.elsewhere).count()
        };
        assert_eq!(elsewhere(&ledger), 2);
        ledger.ended(&end(1));
        assert_eq!(elsewhere(&ledger), 1);
        let over = ledger.nobody_elsewhere();
        assert_eq!(over.len(), 1);
        assert_eq!(
            (over[0].number, &over[0].outcome),
            (2, &Outcome::Unobserved)
        );
        assert_eq!(elsewhere(&ledger), 0);
        assert_eq!(ledger.nobody_elsewhere(), []);
        // An agent that is out of office runs nothing any more.
        let mut ledger = Ledger::default();
        ledger.inherit(running(Place::Agent));
        assert_eq!(elsewhere(&ledger), 0);
    }

    #[test]
    fn what_is_known_is_bounded_and_of_the_agent_in_office() {
        let mut ledger = Ledger::default();
        for n in 0..2 * MAX_SCHEDULES {
            ledger.know(status(&n.to_string()));
        }
        assert_eq!(ledger.known().len(), MAX_SCHEDULES);
        let names = vec!["1".to_owned(), "new".to_owned()];
        ledger.hear(agent(1), ScheduleNews::Names { names });
        assert_eq!(ledger.known(), [status("1")]);
    }
}
