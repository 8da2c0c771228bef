//! Frames gathered into packets: as many frames a system call as are waiting.

use std::collections::VecDeque;

use super::{Body, Frame, MAX_FDS, MAX_PACKET};

/// Frames that are sent together, all or none.
#[derive(Debug, Clone)]
pub struct Packet<D> {
    /// The frames.
    pub bytes: Vec<u8>,
    /// Their memory files, in the order of the frames that have one.
    pub files: Vec<D>,
    /// For whoever keeps books: how much of it came from whom, in the order it came.
    pub origins: Vec<(u64, usize)>,
}

/// What waits for a socket, in order.
#[derive(Debug)]
pub struct Outgoing<D> {
    packets: VecDeque<Packet<D>>,
    bytes: usize,
    files: usize,
    /// The buffer of a packet that was sent, to be used again.
    spare: Vec<u8>,
}

impl<D> Default for Outgoing<D> {
    fn default() -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
            files: 0,
            spare: Vec::new(),
        }
    }
}

impl<D> Outgoing<D> {
    /// Appends a frame; `file` is its memory file, if it has one. `origin` is who it came from, and how much of
    /// what is kept books on it is.
    pub fn push(&mut self, frame: &Frame<'_>, file: Option<D>, origin: Option<(u64, usize)>) {
        debug_assert_eq!(matches!(frame.body, Body::Large(_)), file.is_some());
        let has_room = |packet: &Packet<D>| {
            packet.bytes.len() + frame.len() <= MAX_PACKET
                && (file.is_none() || packet.files.len() < MAX_FDS)
        };
        if !self.packets.back().is_some_and(has_room) {
            self.packets.push_back(Packet {
                bytes: std::mem::take(&mut self.spare),
                files: Vec::new(),
                origins: Vec::new(),
            });
        }
        let Some(packet) = self.packets.back_mut() else {
            return;
        };
        frame.write(&mut packet.bytes);
        self.bytes += frame.len();
        self.files += usize::from(file.is_some());
        packet.files.extend(file);
        match (packet.origins.last_mut(), origin) {
            (Some((last, sum)), Some((from, bytes))) if *last == from => *sum += bytes,
            (_, origin) => packet.origins.extend(origin),
        }
    }

    /// The packet to be sent next. More frames may still join it.
    pub fn front(&self) -> Option<&Packet<D>> {
        self.packets.front()
    }

    /// The first packet was sent. The result is where it came from.
    pub fn sent(&mut self) -> Vec<(u64, usize)> {
        let Some(mut packet) = self.packets.pop_front() else {
            return Vec::new();
        };
        self.bytes = self.bytes.saturating_sub(packet.bytes.len());
        self.files = self.files.saturating_sub(packet.files.len());
        if packet.bytes.capacity() > self.spare.capacity() {
            packet.bytes.clear();
            self.spare = packet.bytes;
        }
        packet.origins
    }

    /// How many bytes wait, memory files not counted.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many memory files wait.
    pub const fn files(&self) -> usize {
        self.files
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}
