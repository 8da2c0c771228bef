//! The life of a keeper, from its boot to its exit code.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use hatchery_protocol::boot::{Family, ListenerBoot, ProgramBoot};
use hatchery_protocol::child::life::{self, Life};
use hatchery_protocol::child::{BoxError, Child, DrainCause, Draining, Shutdown};
use hatchery_protocol::clock::{boottime, monotonic};
use hatchery_protocol::exit::Exit;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child as Process;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ending;
use crate::find::find;
use crate::launch::{Given, launch};
use crate::notify::Notify;
use crate::output::Output;
use crate::probe::Door;
use crate::readiness::{Progress, Signs};
use crate::remains;

/// What sockets without a name are called in `LISTEN_FDNAMES`, sd_listen_fds_with_names(3).
const NAMELESS: &str = "unknown";

/// How many connections wait until the master has its say, which is as soon as everybody is ready.
const BACKLOG: i32 = 4096;

/// What is kept of an orphan's grace for the end itself: the process is ended at the deadline.
const ORPHAN_RESERVE: Duration = Duration::from_millis(300);

/// Lives the life of a worker that keeps a program. The returned code is what `main` should end with.
pub fn run(mut child: Child) -> Exit {
    let Some(program) = child.boot().program.clone() else {
        tracing::error!("the master named no program to run");
        return Exit::Internal;
    };
    // One thread, the main one: the program's parent-death signal is tied to it.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the worker's runtime could not be started: {error}");
            return Exit::Internal;
        }
    };
    let boot = child.boot();
    let keeper = Keeper {
        program,
        slot: boot.child.seat.slot().unwrap_or_default(),
        limit: boot.settings.start_timeout,
        listeners: boot.listeners.clone(),
        sockets: child.take_sockets().listeners,
        shutdown: child.shutdown(),
        running: None,
    };
    let exit = runtime.block_on(life::run(child, keeper));
    runtime.shutdown_background();
    exit
}

struct Keeper {
    program: ProgramBoot,
    slot: u32,
    /// How long the start may take.
    limit: Duration,
    listeners: Vec<ListenerBoot>,
    sockets: Vec<Option<OwnedFd>>,
    shutdown: Shutdown,
    running: Option<Running>,
}

/// A program that was started.
struct Running {
    process: Process,
    output: Output,
    burying: JoinHandle<()>,
}

impl Keeper {
    /// Each socket with what the operator knows of it.
    fn sockets(&self) -> impl Iterator<Item = (&ListenerBoot, &OwnedFd)> {
        let sockets = self.listeners.iter().zip(&self.sockets);
        sockets.filter_map(|(listener, socket)| Some((listener, socket.as_ref()?)))
    }

    /// Has the addresses listen, as programs expect of sockets that they are given. Clients who come before
    /// everybody is ready wait in the queue.
    fn listen(&self) -> Result<(), BoxError> {
        for (listener, socket) in self.sockets() {
            let cannot = |error| format!("{} cannot listen: {error}", listener.address);
            // One that listens already has the backlog that it should have.
            if listener.family != Family::Udp && !socket_acceptconn(socket).map_err(cannot)? {
                rustix::net::listen(socket, BACKLOG).map_err(cannot)?;
            }
        }
        Ok(())
    }

    fn signs(&self) -> io::Result<Signs> {
        let mut doors = Vec::new();
        for (listener, socket) in self.sockets() {
            if let Some(door) = Door::of(listener.family, socket)? {
                doors.push((listener.address.clone(), door));
            }
        }
        Ok(Signs {
            readiness: self.program.readiness,
            settle: self.program.settle,
            doors,
        })
    }

    async fn launch(&mut self, notify: &Notify) -> Result<(), BoxError> {
        let name = self.program.command.first().map_or("", String::as_str);
        let places = std::env::var_os("PATH").unwrap_or_default();
        let path = find(name, &self.program.directory, &places)?;
        let sockets = self.sockets().map(|(listener, socket)| {
            let name = listener.name.as_deref().unwrap_or(NAMELESS);
            (name, socket.as_fd())
        });
        let given = Given {
            sockets: sockets.collect(),
            notify: notify.name(),
            slot: self.slot,
        };
        let launched = launch(&self.program, &path, &given).await?;
        let output = Output::pass_on(launched.stdout, launched.stderr)?;
        let process = launched.child;
        let burying = tokio::spawn(bury(process.id())?);
        tracing::debug!(
            "{} runs (pid {})",
            path.display(),
            process.id().unwrap_or_default()
        );
        self.running = Some(Running {
            process,
            output,
            burying,
        });
        Ok(())
    }
}

/// Waits for orphans of the program that have ended, as often as one may have.
fn bury(program: Option<u32>) -> io::Result<impl Future<Output = ()>> {
    let mut deaths = signal(SignalKind::child())?;
    Ok(async move {
        while deaths.recv().await.is_some() {
            remains::bury(program);
        }
    })
}

impl Running {
    /// Waits for an end that nobody asked for, and tells how it was.
    async fn ended(&mut self) -> String {
        let status = self.process.wait().await;
        let left = remains::count();
        // Its last lines before ours.
        remains::kill();
        self.output.finish().await;
        match status {
            Ok(status) => ending::told(status, left),
            Err(error) => format!("the program is lost: {error}"),
        }
    }

    fn signal(&self, signal: Signal) {
        // Of a process that nobody has waited for yet, so that the number is still its own.
        let pid = self.process.id().map(u32::cast_signed);
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it and everything that it started.
    async fn end(&mut self) {
        let _ = self.process.start_kill();
        let _ = self.process.wait().await;
        self.burying.abort();
        remains::kill();
        self.output.finish().await;
    }
}

impl Drop for Running {
    /// For a start that was given up: there is no drain then.
    fn drop(&mut self) {
        self.burying.abort();
        let _ = self.process.start_kill();
        remains::kill();
    }
}

impl Life for Keeper {
    const TRAIT: &'static str = "Program";

    async fn start(&mut self) -> Result<(), BoxError> {
        let late = sleep(own_limit(self.limit).saturating_sub(age()));
        remains::adopt()?;
        self.listen()?;
        let signs = self.signs()?;
        let notify = Notify::open()?;
        self.launch(&notify).await?;
        let Some(running) = &mut self.running else {
            return Err("the program is gone".into());
        };
        let mut progress = Progress::default();
        let complaint = tokio::select! {
            // The end first: a program that says READY=1 and ends is not ready.
            biased;
            how = running.ended() => how,
            () = signs.seen(&notify, &mut progress) => return Ok(()),
            // The sentence first: there is little time left. The program ends with `self`.
            () = late => signs.complaint(&progress, self.limit),
        };
        Err(complaint.into())
    }

    async fn egg_ready(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    async fn broken(&mut self) -> BoxError {
        match &mut self.running {
            Some(running) => running.ended().await.into(),
            None => std::future::pending().await,
        }
    }

    async fn drain(&mut self, order: Draining) {
        if let Some(running) = &mut self.running {
            let name = self.program.stop_signal;
            running.signal(Signal::from_named_raw(name).unwrap_or(Signal::TERM));
            let mut order = order;
            loop {
                tokio::select! {
                    _ = running.process.wait() => break,
                    hastened = self.shutdown.hastened(order) => order = hastened,
                    () = sleep_until(end_of(order)) => {
                        tracing::warn!("the program did not end in the time it had, and is killed");
                        break;
                    }
                }
            }
            running.end().await;
        }
        self.shutdown.token().cancel();
    }

    async fn before_close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A little less than the master allows, so that it is the keeper who says what was missing.
fn own_limit(limit: Duration) -> Duration {
    limit.saturating_sub((limit / 5).min(Duration::from_secs(2)))
}

/// How long this process is there, as the master counts. The 22nd field of `/proc/self/stat`, proc(5).
fn age() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_ascii_whitespace().nth(19)?.parse::<u64>().ok());
    let second = rustix::param::clock_ticks_per_second();
    ticks.map_or(Duration::ZERO, |ticks| {
        boottime().saturating_sub(Duration::from_millis(
            ticks.saturating_mul(1000) / second.max(1),
        ))
    })
}

fn end_of(order: Draining) -> Instant {
    let reserve = match order.cause {
        DrainCause::MasterLost => ORPHAN_RESERVE,
        DrainCause::Asked | DrainCause::Signal | DrainCause::HookFailed => Duration::ZERO,
    };
    let end = order.deadline.saturating_sub(reserve);
    Instant::now() + end.saturating_sub(monotonic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keeper_speaks_before_the_master_loses_patience() {
        for (limit, own) in [(60_000, 58_000), (1_000, 800), (10, 8)] {
            let own_ms = own_limit(Duration::from_millis(limit));
            assert_eq!(own_ms, Duration::from_millis(own));
        }
    }

    #[test]
    fn a_process_knows_its_age() {
        let age = age();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        std::thread::sleep(Duration::from_millis(30));
        assert!(super::age() > age);
    }
}
