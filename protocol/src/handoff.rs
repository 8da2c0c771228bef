//! Connections on their way from the master to a worker, and the receipts that come back.
//!
//! Each worker has a *lane* of its own: a pair of `SOCK_SEQPACKET` sockets, apart from the link, so that a
//! connection never waits behind a message nor a message behind a connection. A packet is whole or not
//! there; both ends are non-blocking.
//!
//! ```text
//!  master  ── Batch: number, the listener of each connection, the descriptors ──►  worker
//!          ◄── Receipt: number, how many of them arrived, how many are open, leaving? ──
//! ```
//!
//! - The master keeps its copy of a connection until the receipt. A worker sends the receipt before it
//!   reads a byte from any of them, so a connection without a receipt can be given to somebody else.
//! - A batch of no connections is a question: are you there? It gets a receipt like any other.
//! - The first receipt, for batch 0, which nobody sent, says that the worker has begun to read.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg,
    send, sendmsg, socketpair,
};

/// How many connections a batch may have. The kernel's own limit is 253 (`SCM_MAX_FD`, unix(7)).
pub const MAX_BATCH: usize = 32;

const NUMBER: usize = size_of::<u64>();
const LISTENER: usize = size_of::<u16>();
const BATCH: usize = NUMBER + MAX_BATCH * LISTENER;
const RECEIPT: usize = NUMBER + size_of::<u16>() + size_of::<u32>() + size_of::<u8>();
const ANCILLARY_SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_BATCH));

/// The two ends of a new lane, non-blocking and close-on-exec: the master's, and the worker's.
///
/// # Errors
///
/// As socketpair(2).
pub fn lane() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Connections that a worker is given at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Counts from 1 on each lane.
    pub number: u64,
    /// For each connection the index of its listener in [`crate::boot::Boot::listeners`].
    pub listeners: Vec<u16>,
}

/// What a worker says about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Which batch; receipts come in the order of the batches. 0: none so far.
    pub number: u64,
    /// How many of its connections arrived, from the first on. Descriptors are lost on the way when the
    /// worker has none left; those connections are still the master's.
    pub taken: u16,
    /// How many connections the worker has, those included.
    pub open: u32,
    /// This is the last receipt: what comes after this batch will not be read.
    pub leaving: bool,
}

/// Sends a batch with its connections, which are as many as it has listeners.
///
/// # Errors
///
/// As sendmsg(2): `WouldBlock` when the lane is full. Nothing was sent then.
pub fn send_batch(lane: impl AsFd, batch: &Batch, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if batch.listeners.len() != fds.len() || fds.len() > MAX_BATCH {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::with_capacity(BATCH);
    bytes.extend(batch.number.to_le_bytes());
    bytes.extend(batch.listeners.iter().flat_map(|l| l.to_le_bytes()));
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(
        lane,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a batch and as many of its descriptors as this process has room for; `None` when the other
/// end is closed.
///
/// # Errors
///
/// As recvmsg(2): `WouldBlock` when there is nothing. `InvalidData` for a packet that is no batch, or has
/// more descriptors than connections; they are closed.
pub fn receive_batch(lane: impl AsFd) -> io::Result<Option<(Batch, Vec<OwnedFd>)>> {
    let mut bytes = [0; BATCH];
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = match recvmsg(
        lane,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    ) {
        Ok(received) => received,
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let batch = bytes.get(..received.bytes).and_then(read_batch);
    match batch {
        Some(batch)
            if fds.len() <= batch.listeners.len()
                && !received.flags.contains(ReturnFlags::TRUNC) =>
        {
            Ok(Some((batch, fds)))
        }
        _ => Err(malformed("a batch of connections")),
    }
}

fn read_batch(bytes: &[u8]) -> Option<Batch> {
    let (number, listeners) = bytes.split_first_chunk()?;
    let listeners = listeners.chunks_exact(LISTENER);
    listeners.remainder().is_empty().then(|| Batch {
        number: u64::from_le_bytes(*number),
        listeners: listeners
            .filter_map(|l| Some(u16::from_le_bytes(*l.first_chunk()?)))
            .collect(),
    })
}

/// Takes a batch out of the *worker's* end before the worker does, and returns its number. Whoever reads a
/// packet first has it, so afterwards its connections are the master's alone.
///
/// # Errors
///
/// As recv(2): `WouldBlock` when the worker has read everything.
pub fn take_back(workers_end: impl AsFd) -> io::Result<u64> {
    let mut bytes = [0; BATCH];
    // Without room for descriptors the kernel closes those of the packet; the master has its own.
    let (_, received) = recv(workers_end, &mut bytes, RecvFlags::empty())?;
    let batch = bytes.get(..received).and_then(read_batch);
    batch
        .map(|batch| batch.number)
        .ok_or_else(|| malformed("a batch of connections"))
}

/// Sends a receipt.
///
/// # Errors
///
/// As send(2): `WouldBlock` when the lane is full.
pub fn send_receipt(lane: impl AsFd, receipt: &Receipt) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(RECEIPT);
    bytes.extend(receipt.number.to_le_bytes());
    bytes.extend(receipt.taken.to_le_bytes());
    bytes.extend(receipt.open.to_le_bytes());
    bytes.push(receipt.leaving.into());
    send(lane, &bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a receipt; `None` when the other end is closed.
///
/// # Errors
///
/// As recv(2): `WouldBlock` when there is none. `InvalidData` for a packet that is no receipt.
pub fn receive_receipt(lane: impl AsFd) -> io::Result<Option<Receipt>> {
    // One more than it has, so that a packet that is too long shows.
    let mut bytes = [0; RECEIPT + 1];
    let (_, received) = match recv(lane, &mut bytes, RecvFlags::empty()) {
        Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Ok(received) => received,
        Err(error) => return Err(error.into()),
    };
    let receipt = bytes.get(..received).and_then(read_receipt);
    receipt
        .map(Some)
        .ok_or_else(|| malformed("a receipt for connections"))
}

fn read_receipt(bytes: &[u8]) -> Option<Receipt> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (taken, rest) = rest.split_first_chunk()?;
    let (open, rest) = rest.split_first_chunk()?;
    let leaving = match rest {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    Some(Receipt {
        number: u64::from_le_bytes(*number),
        taken: u16::from_le_bytes(*taken),
        open: u32::from_le_bytes(*open),
        leaving,
    })
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a packet is not {what}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};

    use super::*;

    fn batch(number: u64, listeners: &[u16]) -> Batch {
        Batch {
            number,
            listeners: listeners.to_vec(),
        }
    }

    #[test]
    fn connections_arrive_with_their_listeners() {
        let (master, worker) = lane().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let sent = batch(7, &[0, 300]);
        send_batch(&master, &sent, &[writer.as_fd(), writer.as_fd()]).unwrap();
        drop(writer);
        let (received, fds) = receive_batch(&worker).unwrap().unwrap();
        assert_eq!((received, fds.len()), (sent, 2));
        for fd in fds {
            let flags = rustix::io::fcntl_getfd(&fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            std::fs::File::from(fd).write_all(b"through ").unwrap();
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through through ");
    }

    #[test]
    fn receipts_come_back_in_order() {
        let (master, worker) = lane().unwrap();
        let receipts = [(0, 0, false), (1, 32, false), (u64::MAX, 1, true)];
        let receipts = receipts.map(|(number, taken, leaving)| Receipt {
            number,
            taken,
            open: u32::MAX,
            leaving,
        });
        for receipt in &receipts {
            send_receipt(&worker, receipt).unwrap();
        }
        drop(worker);
        for receipt in receipts {
            assert_eq!(receive_receipt(&master).unwrap(), Some(receipt));
        }
        assert_eq!(receive_receipt(&master).unwrap(), None);
    }

    #[test]
    fn an_empty_lane_does_not_block_and_a_closed_one_is_told() {
        let (master, worker) = lane().unwrap();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(
            kind(receive_batch(&worker).map(drop)),
            ErrorKind::WouldBlock
        );
        assert_eq!(
            kind(receive_receipt(&master).map(drop)),
            ErrorKind::WouldBlock
        );
        assert_eq!(kind(take_back(&worker).map(drop)), ErrorKind::WouldBlock);
        drop(master);
        assert!(receive_batch(&worker).unwrap().is_none());
    }

    #[test]
    fn a_full_lane_takes_nothing() {
        let (master, _worker) = lane().unwrap();
        let mut sent = 0;
        let error = loop {
            match send_batch(&master, &batch(sent, &[]), &[]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(sent > 64, "only {sent} batches fit");
    }

    #[test]
    fn what_is_taken_back_is_not_received() {
        let (master, worker) = lane().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        for number in [1, 2] {
            send_batch(&master, &batch(number, &[0]), &[writer.as_fd()]).unwrap();
        }
        drop(writer);
        assert_eq!(receive_batch(&worker).unwrap().unwrap().0.number, 1);
        assert_eq!(take_back(&worker).unwrap(), 2);
        let error = receive_batch(&worker).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        // Nobody has a copy of either any more.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    /// A packet with so many copies of a descriptor, whatever it says.
    fn send_packet(lane: impl AsFd, packet: &[u8], fd: BorrowedFd<'_>, count: usize) {
        let fds = vec![fd; count];
        let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if count > 0 {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        sendmsg(
            lane,
            &[IoSlice::new(packet)],
            &mut ancillary,
            SendFlags::empty(),
        )
        .unwrap();
    }

    /// Descriptors are lost on the way where the receiver has no room for them (MSG_CTRUNC, recvmsg(2)): those
    /// that arrived are the first ones, and nothing is open that nobody has.
    #[test]
    fn how_many_descriptors_arrived_is_told_by_their_number() {
        for (listeners, sent, arrived) in [(5, 2, 2), (1, 0, 0), (MAX_BATCH, 1, 1)] {
            let (master, worker) = lane().unwrap();
            let (mut reader, writer) = io::pipe().unwrap();
            let packet = vec![1; NUMBER + listeners * LISTENER];
            send_packet(&master, &packet, writer.as_fd(), sent);
            drop(writer);
            let (batch, fds) = receive_batch(&worker).unwrap().unwrap();
            assert_eq!((batch.listeners.len(), fds.len()), (listeners, arrived));
            drop(fds);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "a descriptor is open");
        }
    }

    /// A peer that speaks nonsense, or loses descriptors, leaves nothing open.
    #[test]
    fn other_packets_are_refused_and_their_descriptors_closed() {
        let (master, worker) = lane().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let packets: [&[u8]; 4] = [b"1234567", b"12345678l", b"12345678l0l1", &[0; BATCH + 2]];
        for packet in packets {
            send_packet(&master, packet, writer.as_fd(), 3);
            let error = receive_batch(&worker).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{packet:?}");
        }
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "a descriptor is open");

        let receipt = [0; RECEIPT];
        for packet in [&receipt[..RECEIPT - 1], &[0; RECEIPT + 1], &[2; RECEIPT]] {
            send(&worker, packet, SendFlags::empty()).unwrap();
            let error = receive_receipt(&master).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{packet:?}");
        }
    }

    #[test]
    fn a_batch_has_a_descriptor_for_each_connection() {
        let (master, _worker) = lane().unwrap();
        for (listeners, fds) in [(1, 0), (0, 1), (MAX_BATCH + 1, MAX_BATCH + 1)] {
            let error = send_batch(
                &master,
                &batch(1, &vec![0; listeners]),
                &vec![master.as_fd(); fds],
            );
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
