//! One living child, a process or a thread of this one, and the task that minds it.

use std::io::PipeWriter;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hatchery_protocol::PROTOCOL_VERSION;
use hatchery_protocol::clock::monotonic;
use hatchery_protocol::diagnosis::Diagnosis;
use hatchery_protocol::id::{ChildId, Seat};
use hatchery_protocol::message::{FromChild, Gauges, ToChild, clip};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cgroup::OomCounter;
use crate::ended;
use crate::ledger::Ledger;
use crate::link::{Link, LinkReader};
use crate::output::{Output, Tail, relay};
use crate::shell::Input;
use crate::spawn::Newborn;
use crate::supervisor::{Death, Event, Status};
use crate::sys;
use crate::thread::{self, leave_behind};

/// How long a process may live on without its link before that counts as a fault.
const LINKLESS: Duration = Duration::from_secs(1);
/// How long the last words of a dead process are waited for. They are there already, unless somebody
/// who left its process group still holds the other end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the master holds of a child while it lives.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) link: Arc<Link>,
    /// Readable when it has ended: its pidfd, or the pipe on which a thread says so.
    end: Arc<AsyncFd<OwnedFd>>,
    /// The other end of that pipe.
    teller: Option<PipeWriter>,
    heard: Arc<Mutex<Heard>>,
}

/// What a child said last, kept aside for whoever looks: nobody is woken for a beat.
#[derive(Debug, Default)]
struct Heard {
    gauges: Gauges,
    /// When its runtime is known to have run last, on the monotonic clock.
    runtime_at: Option<Duration>,
    /// Whether nobody has passed it on yet.
    fresh: bool,
    /// Who waits for a diagnosis.
    asked: Option<oneshot::Sender<Diagnosis>>,
}

impl Process {
    /// Takes over a child that was just created. From here on its end is reported, whatever happens.
    pub(crate) fn mind(
        child: ChildId,
        newborn: Newborn,
        output: &Output,
        inputs: mpsc::Sender<Input>,
        oom: Arc<Mutex<OomCounter>>,
        ledger: Arc<Mutex<Ledger>>,
    ) -> std::io::Result<Self> {
        let link = Arc::new(Link::new(newborn.link)?);
        let end = Arc::new(sys::readable(newborn.end)?);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let tail = Tail::default();
        let relays = newborn
            .output
            .into_iter()
            .map(|(pipe, stream)| tokio::spawn(relay(pipe, stream, output.sender(), tail.clone())));
        let minder = Minder {
            child,
            pid: newborn.pid,
            is_thread: newborn.teller.is_some(),
            end: Arc::clone(&end),
            flush: tokio::spawn({
                let link = Arc::clone(&link);
                async move { link.flush().await }
            }),
            read: tokio::spawn(read(
                child,
                Arc::clone(&link),
                Arc::clone(&heard),
                ledger,
                tail.clone(),
                inputs.clone(),
            )),
            relays: relays.collect(),
            tail,
            inputs,
            oom,
        };
        tokio::spawn(minder.run());
        Ok(Self {
            pid: newborn.pid,
            link,
            end,
            teller: newborn.teller,
            heard,
        })
    }

    /// Kills exactly this process. One that is gone already is fine. A thread is left behind.
    pub(crate) fn kill(&self) {
        match &self.teller {
            Some(teller) => leave_behind(teller),
            None => drop(pidfd_send_signal(self.end.as_fd(), Signal::KILL)),
        }
    }

    /// Asks for an orderly end without the link. A thread whose link is broken has no ear; its time ends all the same.
    pub(crate) fn terminate(&self) {
        if self.teller.is_none() {
            let _ = pidfd_send_signal(self.end.as_fd(), Signal::TERM);
        }
    }

    /// Its process id, as a number.
    pub(crate) const fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Names exactly this process. There is none for a thread, which nobody takes over.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// What its last beat said.
    pub(crate) fn gauges(&self) -> Gauges {
        lock(&self.heard).gauges.clone()
    }

    /// When its runtime is known to have run last, on the monotonic clock. `None`: it is not ready yet.
    pub(crate) fn runtime_seen(&self) -> Option<Duration> {
        lock(&self.heard).runtime_at
    }

    /// The beat that came since the last call, if one did.
    pub(crate) fn take_beat(&self, child: ChildId) -> Option<Event> {
        let mut heard = lock(&self.heard);
        std::mem::take(&mut heard.fresh).then(|| Event::Beat {
            child,
            runtime_age: monotonic().saturating_sub(heard.runtime_at.unwrap_or_default()),
            requests: heard.gauges.requests,
        })
    }

    /// Asks the child what it is doing. One that cannot answer never does.
    pub(crate) fn ask(&self) -> oneshot::Receiver<Diagnosis> {
        let (asked, answer) = oneshot::channel();
        lock(&self.heard).asked = Some(asked);
        // Without a link there is no answer, and the supervisor hears of that in another way.
        let _ = self.link.send(&ToChild::Diagnose);
        answer
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the link: beats are kept here, everything else is the supervisor's business.
async fn read(
    child: ChildId,
    link: Arc<Link>,
    heard: Arc<Mutex<Heard>>,
    ledger: Arc<Mutex<Ledger>>,
    tail: Tail,
    inputs: mpsc::Sender<Input>,
) {
    let mut reader = LinkReader::new(link);
    loop {
        let event = match reader.next().await {
            Ok(Some(FromChild::Beat(news))) => {
                let mut heard = lock(&heard);
                heard.runtime_at = Some(monotonic().saturating_sub(news.runtime_age));
                heard.gauges = news;
                heard.fresh = true;
                continue;
            }
            Ok(Some(FromChild::Diagnosis(diagnosis))) => {
                if let Some(asked) = lock(&heard).asked.take() {
                    // Whoever asked may have stopped waiting.
                    let _ = asked.send(*diagnosis);
                }
                continue;
            }
            Ok(Some(FromChild::Hello { version })) if version == PROTOCOL_VERSION => {
                Event::Hello { child }
            }
            Ok(Some(FromChild::Hello { version })) => Event::LinkBroken {
                child,
                reason: format!(
                    "it speaks protocol {version}, this master speaks {PROTOCOL_VERSION}"
                ),
            },
            Ok(Some(FromChild::Ready)) => {
                // What it wrote in its start says nothing about how it ends.
                tail.close();
                lock(&heard).runtime_at = Some(monotonic());
                Event::Ready { child }
            }
            Ok(Some(FromChild::Schedule(news))) if child.seat == Seat::Agent => {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.hear(child, *news);
                continue;
            }
            Ok(Some(FromChild::RunEnded(end))) if child.seat != Seat::Agent => {
                let owed = {
                    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    ledger.ended_on_a_worker(&end)
                };
                if owed {
                    let _ = inputs.send(Input::RunEnded(end)).await;
                }
                continue;
            }
            Ok(Some(FromChild::Schedule(_) | FromChild::RunEnded(_))) => Event::LinkBroken {
                child,
                reason: "it speaks of schedules as only another role may".to_owned(),
            },
            Ok(Some(FromChild::StoodDown)) => Event::StoodDown { child },
            Ok(Some(FromChild::Failed {
                mut message,
                timed_out,
                ..
            })) => {
                clip(&mut message);
                Event::HookFailed {
                    child,
                    message,
                    timed_out,
                }
            }
            Ok(None) => return,
            Err(error) => {
                let reason = error.to_string();
                let _ = inputs
                    .send(Input::Happened(Event::LinkBroken { child, reason }))
                    .await;
                return;
            }
        };
        // The receiver only goes away with the master.
        let _ = inputs.send(Input::Happened(event)).await;
    }
}

struct Minder {
    child: ChildId,
    pid: Pid,
    is_thread: bool,
    end: Arc<AsyncFd<OwnedFd>>,
    flush: JoinHandle<()>,
    read: JoinHandle<()>,
    relays: Vec<JoinHandle<()>>,
    tail: Tail,
    inputs: mpsc::Sender<Input>,
    oom: Arc<Mutex<OomCounter>>,
}

impl Minder {
    /// Waits for the end, cleans up behind the process and reports, in this order: the link's last
    /// message comes before the exit.
    async fn run(mut self) {
        let child = self.child;
        tokio::select! {
            _ = self.end.readable() => {}
            _ = &mut self.read => {
                if timeout(LINKLESS, self.end.readable()).await.is_err() {
                    let reason = "it closed its link and lived on".to_owned();
                    self.report(Event::LinkBroken { child, reason }).await;
                    let _ = self.end.readable().await;
                }
            }
        }
        let status = if self.is_thread {
            thread::how_it_ended(self.end.get_ref())
        } else {
            // Not waited for yet, so the group's number is still its own.
            let _ = kill_process_group(self.pid, Signal::KILL);
            ended::how_it_ended(self.end.get_ref())
        };
        let hint = self.explain(status);
        let patience = match status {
            // It goes on to have its link, and has nothing more to say.
            Status::LeftBehind => Duration::ZERO,
            Status::Code(_) | Status::Signal(_) | Status::Unknown => LAST_WORDS,
        };
        let _ = timeout(patience, async {
            if !self.read.is_finished() {
                let _ = (&mut self.read).await;
            }
            for relay in &mut self.relays {
                let _ = relay.await;
            }
        })
        .await;
        self.read.abort();
        self.flush.abort();
        for relay in &self.relays {
            relay.abort();
        }
        let death = Death {
            status,
            hint,
            last_words: self.tail.take(),
        };
        self.report(Event::Exited { child, death }).await;
    }

    /// Looked up at once: another death could change the answer.
    fn explain(&self, status: Status) -> Option<String> {
        if status != Status::Signal(Signal::KILL.as_raw()) {
            return None;
        }
        let mut oom = self.oom.lock().unwrap_or_else(PoisonError::into_inner);
        oom.explain(monotonic())
    }

    async fn report(&self, event: Event) {
        let _ = self.inputs.send(Input::Happened(event)).await;
    }
}
