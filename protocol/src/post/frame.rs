//! Frames, without I/O.
//!
//! ```text
//!  0      1       2       4         8        16      24
//!  +------+-------+-------+---------+--------+-------+-------+---------+
//!  | kind | flags | topic | payload | peer   | id    | topic | payload |
//!  +------+-------+-------+---------+--------+-------+-------+---------+
//!                  u16     u32       u64      u64     little-endian
//! ```
//!
//! `peer` is the addressee on the way to the master, and the sender on the way from it. A payload with the flag
//! [`flag::LARGE`] is not in the packet: it is the next of the packet's descriptors.

use thiserror::Error;

use super::{MAX_INLINE, MAX_PACKET};

/// Bytes in front of each topic.
pub const HEADER: usize = 24;

/// The longest topic, in bytes.
pub const MAX_TOPIC: usize = 255;

/// Bits of a frame's flags.
pub mod flag {
    /// The payload is a memory file.
    pub const LARGE: u8 = 1;
    /// The frame took no room of the sender's window, so none is to be given back.
    pub const FREE: u8 = 2;
    /// It is about the window for answers.
    pub const ANSWER: u8 = 4;
    /// All that are known.
    pub(super) const ALL: u8 = LARGE | FREE | ANSWER;
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message that wants no answer. To many: `id` is how many joined that the sender knew of.
    Message = 1,
    /// A message that wants an answer; `id` is the sender's number for it.
    Request = 2,
    /// The answer to the request `id` of the addressee.
    Reply = 3,
    /// There is no answer to the request `id`, and the payload says why.
    Refusal = 4,
    /// There is nobody who could answer the request `id`: nobody listens to its topic, or the one who had it
    /// let it go, or was gone. `peer` is the one who was asked.
    Unanswered = 5,
    /// The addressee may send `id` bytes more.
    Room = 6,
    /// Only from the master: somebody is there. `id` is its pid and, above it, its slot plus one, if it has one.
    Joined = 16,
    /// Only from the master: somebody is about to leave.
    Leaving = 17,
    /// Only from the master: somebody is gone.
    Left = 18,
    /// Only from the master: that was everybody. `id` is how many have joined so far.
    Open = 19,
}

impl Kind {
    const fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Message,
            2 => Self::Request,
            3 => Self::Reply,
            4 => Self::Refusal,
            5 => Self::Unanswered,
            6 => Self::Room,
            16 => Self::Joined,
            17 => Self::Leaving,
            18 => Self::Left,
            19 => Self::Open,
            _ => return None,
        })
    }

    /// Whether it answers a request.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Reply | Self::Refusal)
    }

    /// Whether only the master may say it.
    pub const fn is_masters(self) -> bool {
        matches!(self, Self::Joined | Self::Leaving | Self::Left | Self::Open)
    }
}

/// Whom a frame is for, as a number: a process by its incarnation, or one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressee {
    /// One process.
    One(u64),
    /// Every worker, the sender included.
    Workers,
    /// Everybody, the sender included.
    All,
}

impl Addressee {
    /// The number on the wire.
    pub const fn number(self) -> u64 {
        match self {
            Self::One(incarnation) => incarnation,
            Self::Workers => u64::MAX - 1,
            Self::All => u64::MAX,
        }
    }
}

impl From<u64> for Addressee {
    fn from(number: u64) -> Self {
        match number {
            u64::MAX => Self::All,
            n if n == Self::Workers.number() => Self::Workers,
            incarnation => Self::One(incarnation),
        }
    }
}

/// What stands in front of topic and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// See [`flag`].
    pub flags: u8,
    /// Whom it is for, or from whom it is.
    pub peer: u64,
    /// What it is about.
    pub id: u64,
}

/// A frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// In the packet.
    Inline(&'a [u8]),
    /// In a memory file of so many bytes.
    Large(u32),
}

impl Body<'_> {
    /// How many bytes it has.
    pub const fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Large(length) => *length as usize,
        }
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One frame of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub head: Head,
    /// The topic: at most [`MAX_TOPIC`] bytes.
    pub topic: &'a [u8],
    /// The payload.
    pub body: Body<'a>,
}

impl Frame<'_> {
    /// How many bytes of a packet it takes.
    pub const fn len(&self) -> usize {
        let inline = match self.body {
            Body::Inline(bytes) => bytes.len(),
            Body::Large(_) => 0,
        };
        HEADER + self.topic.len() + inline
    }

    /// Never: there is a header at least.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether it would be read again as it is.
    pub const fn fits(&self) -> bool {
        self.topic.len() <= MAX_TOPIC && self.len() <= MAX_PACKET
    }

    /// Appends it to a packet.
    pub fn write(&self, packet: &mut Vec<u8>) {
        let Head {
            kind,
            flags,
            peer,
            id,
        } = self.head;
        let (large, length, inline): (u8, usize, &[u8]) = match self.body {
            Body::Inline(bytes) => (0, bytes.len(), bytes),
            Body::Large(length) => (flag::LARGE, length as usize, &[]),
        };
        let topic = u16::try_from(self.topic.len()).unwrap_or(u16::MAX);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut header = [0; HEADER];
        let fields = [kind as u8, flags & !flag::LARGE | large];
        let parts = fields
            .into_iter()
            .chain(topic.to_le_bytes())
            .chain(length.to_le_bytes())
            .chain(peer.to_le_bytes())
            .chain(id.to_le_bytes());
        for (to, byte) in header.iter_mut().zip(parts) {
            *to = byte;
        }
        packet.reserve(self.len());
        packet.extend_from_slice(&header);
        packet.extend_from_slice(self.topic);
        packet.extend_from_slice(inline);
    }
}

/// What is wrong with a packet. It ends the conversation with whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A kind that this version does not know, or that only the master may say.
    #[error("a frame of kind {0} is not understood")]
    Kind(u8),
    /// Flags that this version does not know.
    #[error("a frame has flags {0:#x}, which are not understood")]
    Flags(u8),
    /// A topic that is too long.
    #[error("a topic of {0} bytes exceeds the limit of {MAX_TOPIC} bytes")]
    Topic(u16),
    /// The packet ends inside a frame.
    #[error("a packet ends inside a frame")]
    Truncated,
    /// A payload that is larger than what was configured.
    #[error("a payload of {0} bytes exceeds what was configured")]
    Payload(u32),
    /// A small payload in a memory file, which would cost a descriptor for nothing.
    #[error("a payload of {0} bytes is in a memory file")]
    SmallFile(u32),
}

/// The frames of a packet. Ends with the packet, or with the first error.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads a packet.
    pub const fn new(packet: &'a [u8]) -> Self {
        Self { rest: packet }
    }

    fn read(&mut self) -> Result<Frame<'a>, FrameError> {
        let (header, rest) = self
            .rest
            .split_first_chunk::<HEADER>()
            .ok_or(FrameError::Truncated)?;
        let [kind, flags, t0, t1, p0, p1, p2, p3, rest_of_header @ ..] = *header;
        let (peer, id) = rest_of_header.split_at(8);
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let head = Head {
            kind: Kind::read(kind).ok_or(FrameError::Kind(kind))?,
            flags,
            peer: number(peer),
            id: number(id),
        };
        if flags & !flag::ALL != 0 {
            return Err(FrameError::Flags(flags));
        }
        let topic = u16::from_le_bytes([t0, t1]);
        if usize::from(topic) > MAX_TOPIC {
            return Err(FrameError::Topic(topic));
        }
        let (topic, rest) = rest
            .split_at_checked(usize::from(topic))
            .ok_or(FrameError::Truncated)?;
        let length = u32::from_le_bytes([p0, p1, p2, p3]);
        if flags & flag::LARGE != 0 {
            if length as usize <= MAX_INLINE {
                return Err(FrameError::SmallFile(length));
            }
            self.rest = rest;
            let body = Body::Large(length);
            return Ok(Frame { head, topic, body });
        }
        let (payload, rest) = rest
            .split_at_checked(length as usize)
            .ok_or(FrameError::Truncated)?;
        self.rest = rest;
        let body = Body::Inline(payload);
        Ok(Frame { head, topic, body })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.read();
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests;
