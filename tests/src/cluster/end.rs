//! The end of a cluster: awaited, brought about, and checked in any case.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Cluster, read};
use crate::ended::Ended;
use crate::process;
use crate::wait::{self, LATE, PATIENCE};

impl Cluster {
    /// The master's exit status, once it is gone.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        if self.exit.get().is_none() {
            self.exit.set(match self.successor.get() {
                Some(successor) => process::wait_for_orphan(successor),
                None => self.child.borrow_mut().try_wait().unwrap(),
            });
        }
        self.exit.get()
    }

    /// Looks from here on at a master that takes over. The one before has to be gone already, or about to be;
    /// the result is how it ended.
    #[track_caller]
    pub(crate) fn look_at(&self, successor: u32) -> ExitStatus {
        let ended = wait::until(PATIENCE, || self.exit_status());
        let ended = ended.unwrap_or_else(|| panic!("the old master did not end"));
        self.exit.set(None);
        self.successor.set(Some(successor));
        self.master.set(Some(successor));
        ended
    }

    /// Waits until the master is gone by itself, and checks that it left nobody and no socket.
    #[track_caller]
    pub fn expect_exit(&self) -> Ended {
        self.exit_is_expected.set(true);
        let status = wait::until(PATIENCE, || self.exit_status())
            .unwrap_or_else(|| panic!("the master did not end"));
        self.expect_nothing_left();
        Ended {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            events: self.events(),
            trace: self.trace(),
            plan: self.plan.clone(),
        }
    }

    /// As [`expect_exit`](Self::expect_exit), for a master that was refused because another one runs: the
    /// control socket is that one's, and the files are, too.
    #[track_caller]
    pub fn expect_loss(&self) -> Ended {
        self.killed.set(true);
        self.expect_exit()
    }

    /// Kills the master, so that it can do nothing for its children. Returns when that was.
    #[track_caller]
    pub fn kill_master(&self) -> Instant {
        self.exit_is_expected.set(true);
        self.killed.set(true);
        let when = Instant::now();
        self.signal(Signal::KILL);
        when
    }

    /// Everybody is gone at most so long after `since`, give or take what a machine may be late that is
    /// busy with other things: this tells a death that was noticed from one that was not, which takes
    /// tens of seconds. How fast it really is, `bench/` tells.
    #[track_caller]
    pub fn expect_gone_within(&self, time: Duration, since: Instant) -> Duration {
        // Longer than allowed, so that the message can tell by how much it was late.
        let gone = self.survivors.gone_within(PATIENCE);
        let took = since.elapsed();
        assert!(gone, "these are left: {:?}", self.survivors.list());
        assert!(
            took <= time + LATE,
            "the last one was gone after {took:?}, not {time:?}"
        );
        took
    }

    /// Stops and checks the end: exit code 0, nobody left, however the children left.
    #[track_caller]
    pub fn expect_orderly_end(&self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.expect_exit();
        assert_eq!(ended.code, Some(0), "the stop was orderly");
        ended
    }

    /// As [`expect_orderly_end`](Self::expect_orderly_end), with children that all left by themselves.
    #[track_caller]
    pub fn stop(&self) -> Ended {
        let ended = self.expect_orderly_end();
        // The last one: a master that failed to take over has stopped, too.
        let events = ended.events.iter();
        let begin = events.clone().rposition(|event| event.event == "stopping");
        let begin = begin.expect("the stop began");
        for event in events.skip(begin) {
            if event.event.ends_with("-exited") {
                assert_eq!(event.why(), "exited with code 0", "{event:?}");
            }
        }
        ended
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        // The master waits for its children, so there is nothing to wait for here but a grandchild
        // that was killed a moment ago.
        assert!(
            self.survivors.gone_within(PATIENCE),
            "these are left: {:?}",
            self.survivors.list()
        );
        assert!(
            self.killed.get() || !self.control_path().exists(),
            "the control socket is left"
        );
    }

    /// Shows everything there is to know, for a test that failed.
    fn show(&self) {
        eprintln!("--- exit: {:?}", self.exit_status());
        for process in self.survivors.list() {
            eprintln!("--- survivor: {process:?}, {}", process.turns());
        }
        eprintln!("--- events:\n{}", read(&self.plan.events_file()));
        eprintln!("--- hooks:\n{}", read(&self.plan.trace_file()));
        eprintln!("--- stdout:\n{}", self.stdout());
        eprintln!("--- stderr:\n{}---", self.stderr());
    }

    /// Kills everybody.
    fn clear_away(&self) {
        self.survivors.kill_all();
        let _ = self.child.borrow_mut().wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let check = std::panic::AssertUnwindSafe(|| {
                if self.exit_is_expected.get() {
                    self.expect_nothing_left();
                } else {
                    assert_eq!(self.exit_status(), None, "the master ended by itself");
                    self.stop();
                }
            });
            let Err(failure) = std::panic::catch_unwind(check) else {
                let _ = self.child.borrow_mut().wait();
                return;
            };
            self.show();
            self.clear_away();
            std::panic::resume_unwind(failure);
        }
        self.show();
        self.clear_away();
    }
}
