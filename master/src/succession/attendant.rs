//! The task that goes along with a new master until that serves, or is gone.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hatchery_protocol::message::clip;
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::channel::{self, Inbox, receive};
use super::successor::End;
use super::wire::{FromSuccessor, ToSuccessor, VERSION};
use crate::ended::how_it_ended;
use crate::output::Tail;
use crate::shell::Input;
use crate::supervisor::{Event, Status, SuccessorNews};
use crate::sys;

/// How long a new master may take to read its configuration and to take its addresses over.
const ANSWER: Duration = Duration::from_secs(30);
/// How much longer than it said itself it may take until everybody is ready. It watches its own processes;
/// this is for one that cannot.
const MARGIN: Duration = Duration::from_secs(2);
/// How long one that is to leave may take, before it and all that it started are killed.
const LEAVE: Duration = Duration::from_secs(3);
/// How long the last words of a dead process are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) struct Attendant {
    pidfd: AsyncFd<OwnedFd>,
    socket: AsyncFd<OwnedFd>,
    wish: mpsc::UnboundedReceiver<End>,
    adopted: Arc<OnceLock<Vec<u16>>>,
    inbox: Inbox,
    /// Whether it may still say something.
    talks: bool,
    course: Course,
    /// Its processes.
    children: Vec<(Option<Pid>, OwnedFd)>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy)]
enum Course {
    /// Nobody knows yet what it can.
    Unknown {
        until: Instant,
    },
    /// It starts its processes.
    Preparing {
        until: Instant,
        within: Duration,
    },
    /// It waits for the commit, or is on its way to serving.
    Ready,
    Serving,
}

impl Course {
    const fn until(self) -> Option<Instant> {
        match self {
            Self::Unknown { until } | Self::Preparing { until, .. } => Some(until),
            Self::Ready | Self::Serving => None,
        }
    }

    fn overrun(self) -> String {
        match self {
            Self::Unknown { .. } => {
                let seconds = ANSWER.as_secs();
                format!(
                    "it did not say within {seconds} s that it can take over: is it this application?"
                )
            }
            Self::Preparing { within, .. } => format!(
                "it was not ready within the {within:?} that its own timeouts allow, and was killed"
            ),
            Self::Ready | Self::Serving => String::new(),
        }
    }
}

impl Attendant {
    pub(super) fn new(
        pidfd: AsyncFd<OwnedFd>,
        socket: AsyncFd<OwnedFd>,
        wish: mpsc::UnboundedReceiver<End>,
        adopted: Arc<OnceLock<Vec<u16>>>,
    ) -> Self {
        Self {
            pidfd,
            socket,
            wish,
            adopted,
            inbox: Inbox::new(),
            talks: true,
            course: Course::Unknown {
                until: Instant::now() + ANSWER,
            },
            children: Vec::new(),
        }
    }

    /// Reports what it says and, in the end, why it is gone: when nothing of it is left.
    pub(super) async fn run(
        mut self,
        mut relays: [JoinHandle<()>; 2],
        tail: Tail,
        inputs: mpsc::Sender<Input>,
    ) {
        let why = self.accompany(&inputs).await;
        let status = how_it_ended(self.pidfd.get_ref());
        let _ = timeout(LAST_WORDS, async {
            for relay in &mut relays {
                let _ = relay.await;
            }
        })
        .await;
        relays.iter().for_each(JoinHandle::abort);
        // One that served had clients: its processes serve them to the end.
        if !matches!(self.course, Course::Serving) {
            self.clear_away().await;
        }
        let reason = why.unwrap_or_else(|| quote(status, &tail.take()));
        tell(&inputs, SuccessorNews::Gone { reason }).await;
    }

    /// Until it is gone. Returns why, if there is more to tell than its exit status.
    async fn accompany(&mut self, inputs: &mpsc::Sender<Input>) -> Option<String> {
        loop {
            let far = Instant::now() + LEAVE;
            let until = self.course.until();
            tokio::select! {
                _ = self.pidfd.readable() => return self.last_message().await,
                message = receive(&self.socket, &mut self.inbox), if self.talks => {
                    let heard = match message {
                        Ok(Some((message, fds))) => self.hear(message, fds),
                        Ok(None) => {
                            self.talks = false;
                            continue;
                        }
                        Err(error) => Err(format!("it cannot be understood: {error}")),
                    };
                    match heard {
                        Ok(Some(news)) => tell(inputs, news).await,
                        Ok(None) => {}
                        Err(why) => {
                            self.see_off(false).await;
                            return Some(why);
                        }
                    }
                }
                () = sleep_until(until.unwrap_or(far)), if until.is_some() => {
                    let why = self.course.overrun();
                    self.see_off(true).await;
                    return Some(why);
                }
                wish = self.wish.recv() => {
                    // The master never lets go of the other end while there is something to wish for.
                    self.see_off(wish.is_none_or(|wish| wish.at_once)).await;
                    return None;
                }
            }
        }
    }

    /// What it said with its last breath.
    async fn last_message(&mut self) -> Option<String> {
        while self.talks {
            match timeout(LAST_WORDS, receive(&self.socket, &mut self.inbox)).await {
                Ok(Ok(Some((message, fds)))) => {
                    if let Err(why) = self.hear(message, fds) {
                        return Some(why);
                    }
                }
                Ok(Ok(None) | Err(_)) | Err(_) => return None,
            }
        }
        None
    }

    /// Takes in one message; an error is why there will be no upgrade.
    fn hear(
        &mut self,
        message: FromSuccessor,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<SuccessorNews>, String> {
        match message {
            FromSuccessor::Hello { version: VERSION } => {}
            FromSuccessor::Hello { version } => {
                return Err(format!(
                    "it speaks version {version} of the handover, this master speaks {VERSION}; an upgrade is not \
                     possible between them: stop the application and start it again"
                ));
            }
            FromSuccessor::Preparing { within } => {
                let until = Instant::now() + within + MARGIN;
                self.course = Course::Preparing { until, within };
            }
            FromSuccessor::Child { pid } => {
                // Never a number that means more than one process.
                let pid = Pid::from_raw(pid).filter(|_| pid > 1);
                self.children.extend(fds.into_iter().map(|fd| (pid, fd)));
            }
            FromSuccessor::Ready { adopted } => {
                self.course = Course::Ready;
                let _ = self.adopted.set(adopted);
                return Ok(Some(SuccessorNews::Ready));
            }
            FromSuccessor::Failed { mut message, .. } => {
                clip(&mut message);
                return Err(message);
            }
            FromSuccessor::Serving => {
                self.course = Course::Serving;
                return Ok(Some(SuccessorNews::Serving));
            }
        }
        Ok(None)
    }

    /// Makes it leave, and waits until it has. One that has clients already gets the time that they take.
    async fn see_off(&mut self, mut at_once: bool) {
        if !at_once {
            if let Err(error) = channel::send(self.socket.get_ref(), &ToSuccessor::RollBack, &[]) {
                tracing::debug!("the new master cannot be asked to leave: {error}");
            }
            let serving = matches!(self.course, Course::Serving);
            let patience = Instant::now() + LEAVE;
            at_once = tokio::select! {
                _ = self.pidfd.readable() => false,
                () = sleep_until(patience), if !serving => true,
                wish = self.wish.recv() => wish.is_none_or(|wish| wish.at_once),
            };
        }
        if at_once {
            let _ = pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
        }
        let _ = self.pidfd.readable().await;
        self.last_children().await;
    }

    /// Those whom it told of before it was gone.
    async fn last_children(&mut self) {
        while self.talks {
            let last = timeout(LAST_WORDS, receive(&self.socket, &mut self.inbox)).await;
            let Ok(Ok(Some((message, fds)))) = last else {
                return;
            };
            // Why it goes is known already.
            let _ = self.hear(message, fds);
        }
    }

    /// Kills what it left behind, and waits until that is gone. The old master is its parent now.
    async fn clear_away(&mut self) {
        let children = std::mem::take(&mut self.children);
        for (pid, child) in &children {
            // Dead or alive, as long as it can be signalled its number is its own, and its group's.
            if pidfd_send_signal(child, Signal::KILL).is_ok()
                && let Some(pid) = pid
            {
                let _ = kill_process_group(*pid, Signal::KILL);
            }
        }
        for (_, child) in children {
            if let Ok(child) = sys::readable(child) {
                let _ = timeout(LEAVE, child.readable()).await;
            }
        }
    }
}

/// How it ended, and what it wrote before it could say so.
fn quote(status: Status, last_words: &[String]) -> String {
    if last_words.is_empty() {
        return status.to_string();
    }
    let lines = last_words.join("\n    ");
    format!("{status}; the last it wrote:\n    {lines}")
}

async fn tell(inputs: &mpsc::Sender<Input>, news: SuccessorNews) {
    // The receiver only goes away with the master.
    let _ = inputs.send(Input::Happened(Event::Successor(news))).await;
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::WaitId;

    use super::*;
    use crate::ended::look;
    use crate::orphans::reap;
    use crate::spawn::create;

    /// Whose disk does not answer, or whose `main` waits: the old master must not wait with it for ever.
    #[tokio::test(start_paused = true)]
    async fn a_new_master_that_never_says_a_word_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let spawned = create(command, |_| Ok(())).unwrap();
        let pid = spawned.pid;
        let (_end, wish) = mpsc::unbounded_channel();
        let attendant = Attendant::new(
            sys::readable(spawned.pidfd).unwrap(),
            sys::readable(spawned.link).unwrap(),
            wish,
            Arc::default(),
        );
        let relays = [(); 2].map(|()| tokio::spawn(async {}));
        let (inputs, mut heard) = mpsc::channel(1);
        let begun = Instant::now();
        attendant.run(relays, Tail::default(), inputs).await;
        assert!(begun.elapsed() >= ANSWER);
        let Some(Input::Happened(Event::Successor(SuccessorNews::Gone { reason }))) =
            heard.recv().await
        else {
            panic!("not a word about its end");
        };
        let expected = "it did not say within 30 s that it can take over: is it this application?";
        assert_eq!(reason, expected);
        assert!(look(WaitId::Pid(pid)).is_some(), "it is dead");
        reap(&[pid]);
    }
}
