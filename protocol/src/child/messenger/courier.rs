//! The task that carries frames between the office and the socket.
//!
//! A request and its answer pass here four times, so what stands between a packet and what comes of it is one system
//! call on each side. The socket is watched for packets alone: a socket between processes of one host says that it can be
//! written to each time its other end reads, and each of those would wake this process for nothing. Only a full one is
//! watched for room, through a descriptor that lives as long as that takes.

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::intake::take_in;
use super::office::Office;
use crate::post::{MAX_PACKET, receive_packet, send_packet};
use crate::sys;

/// How many packets are taken before other tasks get their turn.
const TURN: usize = 8;

/// A packet that is shorter had room for more, so as like as not nothing waits behind it.
const LONG: usize = MAX_PACKET / 2;

/// How soon a packet is sent again that was refused: for want of memory, say, whose end nobody tells.
const RETRY: Duration = Duration::from_millis(10);

/// How long a process that leaves waits for its last messages to be taken by the master.
const LAST_POST: Duration = Duration::from_millis(200);

/// The courier, for whoever ends it.
#[derive(Debug)]
pub(in crate::child) struct Courier {
    office: Arc<Office>,
    task: JoinHandle<()>,
}

impl Courier {
    /// Starts to carry messages when `egg_ready` is cancelled, so to speak. To be called on the runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket: out of memory, or of watches.
    pub(in crate::child) fn start(
        office: Arc<Office>,
        socket: OwnedFd,
        egg_ready: CancellationToken,
    ) -> io::Result<Self> {
        let socket = sys::readable(socket)?;
        let task = tokio::spawn({
            let office = Arc::clone(&office);
            async move {
                let told = tokio::select! {
                    () = egg_ready.cancelled() => true,
                    () = office.finishing.cancelled() => false,
                };
                if told && let Err(error) = carry(&office, &socket).await {
                    tracing::error!("no more messages: {error}");
                }
                office.close();
            }
        });
        Ok(Self { office, task })
    }

    /// Sends what waits, and ends.
    pub(in crate::child) async fn finish(self) {
        self.office.finishing.cancel();
        // A master that takes nothing is not waited for.
        let _ = tokio::time::timeout(LAST_POST, self.task).await;
    }
}

/// Until this process leaves, or the master is gone.
async fn carry(office: &Arc<Office>, socket: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut packet = vec![0; MAX_PACKET];
    let mut exit = None;
    let mut turn = 0;
    loop {
        let settled = match flush(office, socket) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // What the master has passed on is here all the same.
                while let Ok(Some(_)) = receive(office, socket.get_ref(), &mut packet) {}
                return Ok(());
            }
            flushed => flushed?,
        };
        if settled {
            exit = None;
            if office.finishing.is_cancelled() {
                return Ok(());
            }
        } else if exit.is_none() {
            // Without a descriptor or memory for it, it is tried again by the clock.
            let same = socket.get_ref().try_clone();
            exit = same
                .and_then(|fd| sys::watched(fd, Interest::WRITABLE))
                .ok();
        }
        tokio::select! {
            () = office.bell.notified() => {}
            readable = socket.readable() => {
                match take(office, &mut readable?, &mut packet)? {
                    Taken::Some(count) => turn += count,
                    Taken::All => {
                        turn = 0;
                        continue;
                    }
                    Taken::Last => return Ok(()),
                }
                if turn < TURN {
                    others_first().await;
                } else {
                    // A flood: also to those who wait for the kernel.
                    turn = 0;
                    tokio::task::yield_now().await;
                }
            }
            () = room(exit.as_ref()), if !settled => {}
            () = tokio::time::sleep(RETRY), if !settled => {}
            () = office.finishing.cancelled(), if settled => {}
        }
    }
}

/// What a look at the socket has brought.
enum Taken {
    /// So many packets, and there may be more.
    Some(usize),
    /// Everything that is there.
    All,
    /// That was it: the master is gone.
    Last,
}

/// Takes what is there, to its end or for a turn.
///
/// A short packet ends the look: what it asks for is answered before it is found out that there is no other.
fn take(
    office: &Arc<Office>,
    readable: &mut AsyncFdReadyGuard<'_, OwnedFd>,
    packet: &mut [u8],
) -> io::Result<Taken> {
    for count in 1..=TURN {
        match readable.try_io(|socket| receive(office, socket.get_ref(), packet)) {
            Ok(Ok(Some(length))) if length < LONG => return Ok(Taken::Some(count)),
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Ok(Taken::Last),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(Taken::All),
        }
    }
    Ok(Taken::Some(TURN))
}

/// Lets everybody run who can go on now, with what came, say. Unlike tokio's `yield_now` it does not ask the kernel for
/// news before.
async fn others_first() {
    let mut ran = false;
    poll_fn(|context| {
        if std::mem::replace(&mut ran, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The socket can be written to, if it is watched for that.
async fn room(exit: Option<&AsyncFd<OwnedFd>>) {
    let Some(exit) = exit else {
        return pending().await;
    };
    // Before the next attempt: what is there after it is told anew. An error is the end of the runtime.
    if let Ok(mut writable) = exit.writable().await {
        writable.clear_ready();
    }
}

/// Sends what waits. `false`: the socket is full.
fn flush(office: &Office, socket: &AsyncFd<OwnedFd>) -> io::Result<bool> {
    office.flush(
        |bytes, files| match send_packet(socket.get_ref(), bytes, files) {
            Ok(()) => Ok(true),
            // Full, or too many descriptors are under way (unix(7)).
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(error),
        },
    )
}

fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let full = [
        Errno::AGAIN,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::TOOMANYREFS,
    ];
    Errno::from_io_error(error).is_some_and(|errno| full.contains(&errno))
}

/// Takes one packet, and says how long it was. `None`: the master is gone.
fn receive(office: &Arc<Office>, socket: &OwnedFd, packet: &mut [u8]) -> io::Result<Option<usize>> {
    let mut files = Vec::new();
    let Some(length) = receive_packet(socket, packet, &mut files)? else {
        return Ok(None);
    };
    let bytes = packet.get(..length).unwrap_or_default();
    take_in(office, bytes, files).map_err(io::Error::other)?;
    Ok(Some(length))
}

#[cfg(test)]
mod tests;
