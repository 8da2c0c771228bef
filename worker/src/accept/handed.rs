//! Connections that the master has accepted and hands over on this worker's lane.
//!
//! The order of things is the promise (see [`hatchery_protocol::handoff`]): first the receipt, then the first
//! byte. Until a receipt is sent its connections are kept here untouched, for they may still be given to
//! another worker.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::boot::Family;
use hatchery_protocol::child::gauge::GaugeCells;
use hatchery_protocol::child::watched;
use hatchery_protocol::handoff::{Batch, Receipt, receive_batch, send_receipt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Accept, Accepted};
use crate::stream::Stream;

/// How late the master may hear of a connection that was closed: of many at once it hears once.
const REPORT: Duration = Duration::from_millis(1);

/// The worker's end of its lane.
#[derive(Debug)]
pub(crate) struct Handed {
    lane: AsyncFd<OwnedFd>,
    /// By listener.
    families: Vec<Family>,
    gauges: Arc<GaugeCells>,
    /// Rung when a connection is closed, if the master wants to know.
    closings: Option<Arc<Notify>>,
    /// When the master is to be told of connections that were closed since the last receipt.
    report: Option<Instant>,
    /// The newest batch, and how many connections of it arrived.
    newest: (u64, u16),
    /// Whether there is no receipt for the newest batch yet.
    owed: bool,
    /// Not sent yet.
    receipts: VecDeque<Receipt>,
    /// Received, and not confirmed yet.
    unconfirmed: VecDeque<(u16, OwnedFd)>,
    /// Received and confirmed.
    ready: VecDeque<(u16, OwnedFd)>,
    /// Whether connections were lost in the last batch: a spell of it is one line in the log.
    exhausted: bool,
}

impl Handed {
    /// Begins to take connections. To be called on the runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the lane: out of memory, or of watches.
    pub(crate) fn open(
        lane: OwnedFd,
        families: Vec<Family>,
        gauges: Arc<GaugeCells>,
        closings: Option<Arc<Notify>>,
    ) -> io::Result<Self> {
        let mut handed = Self {
            lane: watched(lane, Interest::READABLE)?,
            families,
            gauges,
            closings,
            report: None,
            newest: (0, 0),
            owed: false,
            receipts: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            ready: VecDeque::new(),
            exhausted: false,
        };
        // The master waits for it: somebody reads.
        handed.acknowledge(false);
        Ok(handed)
    }

    /// Takes what is on the lane, and prepares the receipts. `false`: the master is gone.
    fn receive(&mut self) -> io::Result<bool> {
        let received = loop {
            match receive_batch(self.lane.get_ref()) {
                Ok(Some((batch, fds))) => self.note(&batch, fds),
                Ok(None) => break Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        if self.owed {
            self.acknowledge(false);
        }
        received
    }

    fn note(&mut self, batch: &Batch, fds: Vec<OwnedFd>) {
        let lost = batch.listeners.len() - fds.len();
        if lost > 0 && !self.exhausted {
            tracing::warn!("no descriptors left, {lost} connections go back to the master");
        }
        self.exhausted = lost > 0;
        // Several batches have one receipt, as long as nothing of them is missing.
        if self.owed && lost > 0 {
            self.acknowledge(false);
        }
        self.newest = (batch.number, u16::try_from(fds.len()).unwrap_or(u16::MAX));
        self.owed = true;
        let connections = batch.listeners.iter().copied().zip(fds);
        self.unconfirmed.extend(connections);
        if lost > 0 {
            self.acknowledge(false);
        }
    }

    /// Prepares a receipt for everything that was received.
    fn acknowledge(&mut self, leaving: bool) {
        let (number, taken) = self.newest;
        let here = self.unconfirmed.len() + self.ready.len();
        let open = self.gauges.connections().saturating_add(here as u64);
        self.owed = false;
        self.report = None;
        self.receipts.push_back(Receipt {
            number,
            taken,
            open: u32::try_from(open).unwrap_or(u32::MAX),
            leaving,
        });
    }

    /// Sends receipts as far as the lane takes them. `true`: all are sent.
    fn send_receipts(&mut self) -> io::Result<bool> {
        while let Some(receipt) = self.receipts.front() {
            match send_receipt(self.lane.get_ref(), receipt) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // Without a master nobody else can be given the connections.
                Err(error) if !is_gone(&error) => return Err(error),
                Ok(()) | Err(_) => drop(self.receipts.pop_front()),
            }
        }
        self.ready.append(&mut self.unconfirmed);
        Ok(true)
    }

    fn next_ready(&mut self) -> Option<Accepted<Stream>> {
        while let Some((listener, socket)) = self.ready.pop_front() {
            let listener = usize::from(listener);
            let Some(family) = self.families.get(listener) else {
                continue;
            };
            match Stream::handed(*family, socket) {
                Ok(stream) => return Some(Accepted { listener, stream }),
                Err(error) => tracing::warn!("a connection is lost, it cannot be watched: {error}"),
            }
        }
        None
    }

    /// Waits until the lane takes receipts again.
    ///
    /// By a descriptor that lives as long as that takes. A lane that is always watched for room wakes its worker up
    /// for each receipt that the master has read: between processes of one host that makes room.
    async fn room(&self) -> io::Result<()> {
        let same = self.lane.get_ref().try_clone()?;
        let exit = watched(same, Interest::WRITABLE)?;
        exit.writable().await?.retain_ready();
        Ok(())
    }

    /// Waits until there is something to confirm.
    async fn changed(&mut self) -> io::Result<()> {
        tokio::select! {
            readable = self.lane.readable() => {
                // Before the look: what comes after it is told anew.
                readable?.clear_ready();
                if !self.receive()? {
                    // The watch thread sees to the rest.
                    std::future::pending::<()>().await;
                }
            }
            () = rung(self.closings.as_deref()), if self.report.is_none() => {
                self.report = Some(Instant::now() + REPORT);
            }
            () = due(self.report) => self.acknowledge(false),
        }
        Ok(())
    }
}

async fn rung(bell: Option<&Notify>) {
    match bell {
        Some(bell) => bell.notified().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Accept for Handed {
    type Stream = Stream;

    const KEEPS_LIMIT: bool = true;

    async fn accept(&mut self) -> io::Result<Accepted<Stream>> {
        loop {
            if let Some(accepted) = self.next_ready() {
                return Ok(accepted);
            }
            if self.receipts.is_empty() {
                self.changed().await?;
            } else if !self.send_receipts()? {
                self.room().await?;
            }
        }
    }

    fn close(mut self, mut take: impl FnMut(Accepted<Stream>)) {
        // A lane that fails now has given all it can.
        let _ = self.receive();
        self.acknowledge(true);
        // What could not be confirmed is the master's, who gives it to others.
        let _ = self.send_receipts();
        while let Some(accepted) = self.next_ready() {
            take(accepted);
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;

    use hatchery_protocol::handoff::{lane, receive_receipt};
    use tokio::time::timeout;

    use super::*;
    use crate::fixture::settle;

    /// Whether an epoll of this process is told when there is room in that socket (proc(5), fdinfo).
    fn is_watched_for_room(number: i32) -> bool {
        const EPOLLOUT: u32 = 4;
        let line = format!("tfd: {number:>8} events:");
        let told = |info: String| {
            let (_, rest) = info.split_once(&line)?;
            let events = rest.split_ascii_whitespace().next()?;
            Some(u32::from_str_radix(events, 16).unwrap())
        };
        fs::read_dir("/proc/self/fdinfo")
            .unwrap()
            // Other tests close theirs meanwhile.
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter_map(told)
            .any(|events| events & EPOLLOUT != 0)
    }

    #[tokio::test]
    async fn a_full_lane_is_waited_for_and_an_empty_one_is_not_watched_for_room() {
        const RECEIPTS: usize = 5000;
        let (masters, ours) = lane().unwrap();
        let number = ours.as_raw_fd();
        let gauges = Arc::new(GaugeCells::new(1));
        let mut handed = Handed::open(ours, vec![Family::Tcp], gauges, None).unwrap();
        for _ in 1..RECEIPTS {
            handed.acknowledge(false);
        }
        let running = tokio::spawn(async move { handed.accept().await.map(drop) });
        let masters = watched(masters, Interest::READABLE).unwrap();
        let reading = async {
            let mut read = 0;
            while read < RECEIPTS {
                masters.readable().await.unwrap().clear_ready();
                while let Ok(Some(_)) = receive_receipt(masters.get_ref()) {
                    read += 1;
                }
            }
        };
        timeout(Duration::from_secs(10), reading).await.unwrap();
        settle().await;
        assert!(
            !is_watched_for_room(number),
            "each receipt that is read would wake it up"
        );
        running.abort();
    }
}
