//! The master's view of the lane to one worker: its own end, and a copy of the worker's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hatchery_protocol::handoff::{self, Batch, Receipt, receive_receipt, send_batch, take_back};

use super::account::Parcel;

#[derive(Debug)]
pub(super) struct Lane {
    ours: OwnedFd,
    /// To take back what the worker has not read. While it is open, a worker that is gone is no end of file:
    /// the control loop tells.
    workers_end: OwnedFd,
}

impl Lane {
    /// A new lane, and the end that the worker gets.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = handoff::lane()?;
        let workers_end = theirs.try_clone()?;
        Ok((Self { ours, workers_end }, theirs))
    }

    /// Sends connections; all or none.
    pub(super) fn send(&self, parcel: &Parcel<OwnedFd>) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = parcel.connections.iter().map(|c| c.it.as_fd()).collect();
        let batch = Batch {
            number: parcel.number,
            listeners: parcel.connections.iter().map(|c| c.listener).collect(),
        };
        send_batch(&self.ours, &batch, &fds)
    }

    /// Asks for a receipt.
    pub(super) fn ask(&self, number: u64) -> io::Result<()> {
        let listeners = Vec::new();
        send_batch(&self.ours, &Batch { number, listeners }, &[])
    }

    /// The next receipt, if there is one.
    pub(super) fn receipt(&self) -> io::Result<Option<Receipt>> {
        match receive_receipt(&self.ours) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // Not by the worker's death, for we have a copy of its end.
            Ok(None) => Err(io::Error::other("it was shut down")),
            received => received,
        }
    }

    /// Takes away what the worker has not read. The result is the numbers of those batches.
    pub(super) fn take_back(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Ok(number) = take_back(&self.workers_end) {
            numbers.push(number);
        }
        numbers
    }
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}
